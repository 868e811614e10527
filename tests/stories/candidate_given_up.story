# The candidate dies inside its promotion: another epoch, and the bounds that were recorded stay.
fleet priority=b:200
when PROMOTING lose candidate
crash a
until PROMOTING
until STABLE
until serving
run 8s
heal
until whole
show record
----
epoch 2 SEALING of a; prior a of epoch 1 under ANY 1 (b, c)
epoch 2 PROMOTING b under ANY 1 (c)
epoch 3 SEALING of a; prior a of epoch 1 under ANY 1 (b, c) (bound known); b of epoch 2 under ANY 1 (c)
epoch 3 PROMOTING c under solo
epoch 3 STABLE under c
record epoch 3 STABLE of c, settled
