# covers: T15 T14
# The candidate dies inside its promotion, and may have taken the timeline that was allocated to it: the next one
# gets another, and the one that comes back follows on that.
fleet priority=b:200
show timeline
when PROMOTING lose candidate
crash a
until PROMOTING
until STABLE
until serving
show timeline
heal
until whole
show timeline
----
timeline 1, the highest ever allocated is 1
epoch 2 SEALING of a; prior a of epoch 1 under ANY 1 (b, c)
epoch 2 PROMOTING b under ANY 1 (c)
epoch 3 SEALING of a; prior a of epoch 1 under ANY 1 (b, c) (bound known); b of epoch 2 under ANY 1 (c)
epoch 3 PROMOTING c under solo
epoch 3 STABLE under c
timeline 3, the highest ever allocated is 3
timeline 3, the highest ever allocated is 3
