# A person orders a failover of a healthy primary: refused; by force it is sealed with everybody, and replaced.
fleet priority=b:200
failover
run 300ms
failover force
until SEALING
until done
until whole
show decided failover_asked
show record
----
refused: a is Healthy; use switchover, or --force to seal it all the same
epoch 2 SEALING of a; prior a of epoch 1 under ANY 1 (b, c)
epoch 2 PROMOTING b under ANY 1 (c)
epoch 2 STABLE under b
succeeded: b is the primary of epoch 2
decided failover_asked
record epoch 2 STABLE of b, settled
