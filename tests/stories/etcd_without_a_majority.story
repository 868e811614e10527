# Without etcd nothing is decided: a crash waits for its majority to be back, and then fails over at once.
fleet controls=3
etcd down 4s
run 1s
crash a
run 2s
show rule
until SEALING
until whole
show rule
----
rule ANY 1 (b, c)
epoch 2 SEALING of a; prior a of epoch 1 under ANY 1 (b, c)
epoch 2 PROMOTING c under ANY 1 (b)
epoch 2 STABLE under c
rule ANY 1 (a', b)
