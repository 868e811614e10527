# covers: S34
# The primary is cut off from everybody, its clients stay with it. Another one is promoted; what the old one took
# meanwhile was never acknowledged, and goes when it is healed. (That it stops by itself is its guard's part.)
fleet
isolate a
until SEALING
until STABLE
until serving within 2s
run 10s
show writes
show members
mend
until whole
show members
show lost a
----
epoch 2 SEALING of a; prior a of epoch 1 under ANY 1 (b, c)
epoch 2 PROMOTING b under ANY 1 (c)
epoch 2 STABLE under b
a is fenced
writes are acknowledged
members a silent, b serving, c voter
members a' voter, b serving, c voter
lost at a: what lay up to 1@LSN
