# The leader dies in a failover; its lease runs out, and the next one goes on from the record.
fleet controls=3
when PROMOTING kill leader
crash a
until PROMOTING
until whole
show rule
----
epoch 2 SEALING of a; prior a of epoch 1 under ANY 1 (b, c)
epoch 2 PROMOTING b under ANY 1 (c)
epoch 2 STABLE under b
rule ANY 1 (a', c)
