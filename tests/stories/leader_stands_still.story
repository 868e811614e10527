# A leader stands still in the middle of a failover: another one ends it; waking up, the old one writes nothing.
fleet controls=3
when SEALING freeze leader 8s
crash a
until SEALING
until STABLE
until whole
show rule
run 8300ms
show why
----
epoch 2 SEALING of a; prior a of epoch 1 under ANY 1 (b, c)
epoch 2 PROMOTING b under ANY 1 (c)
epoch 2 STABLE under b
rule ANY 1 (a', c)
why primary_healthy b
