# covers: S17
# The leader is killed again and again while all is well: another one leads, and neither epoch nor rule change.
# The last one does its work like the first.
fleet
replace leader
run 1s
replace leader
run 3s
replace leader
run 5s
show record
show rule
show why
crash a
until SEALING
until whole
show record
----
record epoch 1 STABLE of a, settled
rule ANY 1 (b, c)
why primary_healthy a
epoch 2 SEALING of a; prior a of epoch 1 under ANY 1 (b, c)
epoch 2 PROMOTING b under ANY 1 (c)
epoch 2 STABLE under b
record epoch 2 STABLE of b, settled
