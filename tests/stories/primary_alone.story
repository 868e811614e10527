# A primary that reaches nobody: the others go on after a moment, and it stops by itself when its lease is over.
fleet
cut a control
cut a b
cut a c
until serving
run 8s
mend
until whole
show members
----
epoch 2 SEALING of a; prior a of epoch 1 under ANY 1 (b, c)
epoch 2 PROMOTING b under ANY 1 (c)
epoch 2 STABLE under b
a is fenced
members a' voter, b serving, c voter
