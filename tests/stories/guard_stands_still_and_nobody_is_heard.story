# The guard stands still, and the primary is cut off from everybody: the agent alone keeps the deadline, and stops the
# primary before what it shows to its clients is older than the bound; another guard would come too late.
fleet
isolate a
run 3900ms
freeze a guard
run 1100ms
show timeline
thaw a
heal
until whole
show rule
----
epoch 2 SEALING of a; prior a of epoch 1 under ANY 1 (b, c)
epoch 2 PROMOTING b under ANY 1 (c)
epoch 2 STABLE under b
a is fenced
timeline 2, the highest ever allocated is 2
rule ANY 1 (a', c)
