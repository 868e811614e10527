# A person paused the replay on both standbys and forgot it. They are sealed and promoted all the same.
fleet
hold b paused 60s
hold c paused 60s
run 1s
lose a
until serving
restart a
heal
until whole
show rule
----
epoch 2 SEALING of a; prior a of epoch 1 under ANY 1 (b, c)
epoch 2 PROMOTING b under ANY 1 (c)
epoch 2 STABLE under b
rule ANY 1 (a, c)
