# A new primary is STABLE while its voter hangs: what the epoch before may have acknowledged stays in the record until
# the voter has the first record of the new timeline.
fleet priority=b:200
when PROMOTING stall c 1500ms
when STABLE show prior
crash a
until SEALING
until STABLE
until whole
show prior
----
epoch 2 SEALING of a; prior a of epoch 1 under ANY 1 (b, c)
epoch 2 PROMOTING b under ANY 1 (c)
epoch 2 STABLE under b
prior a of epoch 1 under ANY 1 (b, c) (bound known)
prior 
