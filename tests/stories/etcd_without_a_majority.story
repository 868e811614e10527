# Without etcd nothing is decided: a lost host waits for its majority to be back, and then fails over at once.
fleet controls=3
etcd down 4s
run 1s
lose a
run 2s
show rule
until SEALING
until serving
show rule
----
rule ANY 1 (b, c)
epoch 2 SEALING of a; prior a of epoch 1 under ANY 1 (b, c)
epoch 2 PROMOTING b under ANY 1 (c)
epoch 2 STABLE under b
rule ANY 1 (c)
