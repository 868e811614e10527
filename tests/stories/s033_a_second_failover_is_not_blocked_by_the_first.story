# covers: S33
# The peer blocks a recovery that comes soon after another until somebody acknowledges it. Primacy has no such
# block: what R2 and R3 allow is done as often as it is needed, and each time whatever was acknowledged is there.
fleet
lose a
until serving
show writes
restart a
until whole
lose b
until SEALING
until serving within 2s
show writes
restart b
until whole
lose a
until SEALING
until serving within 2s
show writes
----
epoch 2 SEALING of a; prior a of epoch 1 under ANY 1 (b, c)
epoch 2 PROMOTING b under ANY 1 (c)
epoch 2 STABLE under b
writes are acknowledged
epoch 3 SEALING of b; prior b of epoch 2 under ANY 1 (a, c)
epoch 3 PROMOTING a under ANY 1 (c)
epoch 3 STABLE under a
writes are acknowledged
epoch 4 SEALING of a; prior a of epoch 3 under ANY 1 (b, c)
epoch 4 PROMOTING b under ANY 1 (c)
epoch 4 STABLE under b
writes are acknowledged
