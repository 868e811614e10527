# covers: T67
# A switchover is asked for in the middle of a failover: it is refused with what is under way, and not queued.
fleet priority=b:200
when SEALING switchover c
crash a
run 4s
show record
fleet priority=b:200
when PROMOTING switchover c
crash a
run 4s
until whole
show record
----
epoch 2 SEALING of a; prior a of epoch 1 under ANY 1 (b, c)
epoch 2 PROMOTING b under ANY 1 (c)
epoch 2 STABLE under b
refused: the cluster is in SEALING (epoch 2); ask again when it is STABLE: missing: 2 of b, c, or a (epoch 1, rule ANY 1 (b, c))
record epoch 2 STABLE of b, settled
epoch 2 SEALING of a; prior a of epoch 1 under ANY 1 (b, c)
epoch 2 PROMOTING b under ANY 1 (c)
epoch 2 STABLE under b
refused: the cluster is in PROMOTING (epoch 2); ask again when it is STABLE: for N of N ms
record epoch 2 STABLE of b, settled
