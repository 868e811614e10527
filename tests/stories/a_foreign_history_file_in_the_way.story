# The second candidate finds, between its timeline and the one that it was allocated, a real history file that forks
# off below its own end: it refuses before anything happened, and the old primary itself goes on.
fleet priority=b:200
history c 2
when PROMOTING lose candidate
crash a
until SEALING
until PROMOTING
until SEALING
until PROMOTING
until STABLE
restart b
until whole
show decided candidate_given_up
show timeline
----
epoch 2 SEALING of a; prior a of epoch 1 under ANY 1 (b, c)
epoch 2 PROMOTING b under ANY 1 (c)
epoch 3 SEALING of a; prior a of epoch 1 under ANY 1 (b, c) (bound known); b of epoch 2 under ANY 1 (c)
epoch 3 PROMOTING c under solo
epoch 4 SEALING of a; prior a of epoch 1 under ANY 1 (b, c) (bound known); b of epoch 2 under ANY 1 (c) (bound known); c of epoch 3 under solo
epoch 4 PROMOTING a under ANY 1 (c)
epoch 4 STABLE under a
decided candidate_given_up
timeline 4, the highest ever allocated is 4
