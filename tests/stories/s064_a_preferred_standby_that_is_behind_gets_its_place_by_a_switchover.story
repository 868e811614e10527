# covers: S64
# The preferred standby lags when the primary dies. The peer lets it fetch the rest first; Primacy promotes nobody
# below the bounds and copies nothing between sealed members: the other one takes over, and the preferred one gets
# its place by a switchover once it has everything.
fleet
set c priority=200
stall c 4s
run 500ms
crash a
until serving
run 3s
until whole
switchover c
until SEALING
until done
until whole
show members
----
epoch 2 SEALING of a; prior a of epoch 1 under ANY 1 (b, c)
epoch 2 PROMOTING b under ANY 1 (c)
epoch 2 STABLE under b
epoch 3 SEALING of b; prior b of epoch 2 under ANY 1 (a', c)
epoch 3 PROMOTING c under ANY 1 (a')
epoch 3 STABLE under c
succeeded: c is the primary of epoch 3
members a' voter, b voter, c serving
