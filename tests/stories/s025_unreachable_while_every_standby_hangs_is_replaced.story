# covers: S25
# The primary can't be reached, and every standby hangs, so that none can say whether it still hears from it. The
# peer waits for them to find out; Primacy need not: nothing can be acknowledged without them, and sealing them
# makes it final. The old primary lives on its side, acknowledges nothing, and is rewound when it is back.
fleet
stall b 20s
stall c 5s
run 1s
show writes
cut a control
until SEALING
show decided primary_host_lost
until serving
show writes
mend
heal
until whole
show members
----
writes wait
epoch 2 SEALING of a; prior a of epoch 1 under ANY 1 (b, c)
decided primary_host_lost
epoch 2 PROMOTING b under ANY 1 (c)
a is fenced
epoch 3 SEALING of a; prior a of epoch 1 under ANY 1 (b, c) (bound known); b of epoch 2 under ANY 1 (c)
epoch 3 PROMOTING c under solo
epoch 3 STABLE under c
writes are acknowledged
members a' voter, b' voter, c serving
