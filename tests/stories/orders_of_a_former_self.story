# An agent that forgot everything hears again what the one before it was told, and obeys none of it: to follow the old
# primary, which nobody could reach, would let that one acknowledge what the new primary lacks.
fleet priority=b:200
cut a control
cut a b
cut a c
until SEALING
until STABLE
cut c control
forget c
run 800ms
mend
cut a control
cut a b
cut c control
late c epoch=1
run 1500ms
heal
until whole
show rule
show members
----
epoch 2 SEALING of a; prior a of epoch 1 under ANY 1 (b, c)
epoch 2 PROMOTING b under ANY 1 (c)
epoch 2 STABLE under b
late Follow of epoch 1 to c is refused: it is for incarnation ID, this is ID
rule ANY 1 (a', c')
members a' voter, b serving, c' voter
