# covers: S78 T16
# There is no hook that asks an operator's program; a candidate's own checks take its place. Here it finds a real
# history file of somebody else's timeline in its way, refuses before anything happened, and the next one is chosen.
fleet
set b priority=200
run 500ms
history b 2
crash a
until PROMOTING
until serving
show decided candidate_given_up
show timeline
until whole
show writes
----
epoch 2 SEALING of a; prior a of epoch 1 under ANY 1 (b, c)
epoch 2 PROMOTING b under ANY 1 (c)
epoch 3 SEALING of a; prior a of epoch 1 under ANY 1 (b, c) (bound known); b of epoch 2 under ANY 1 (c)
epoch 3 PROMOTING c under ANY 1 (b)
epoch 3 STABLE under c
decided candidate_given_up
timeline 3, the highest ever allocated is 3
writes are acknowledged
