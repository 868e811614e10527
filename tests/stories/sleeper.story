# The primary's machine sleeps while another takes over. Awake again it finds its deadline past, and stops at once.
fleet
freeze a
until SEALING
until serving
run 5s
thaw a
run 1s
until whole
show members
----
epoch 2 SEALING of a; prior a of epoch 1 under ANY 1 (b, c)
epoch 2 PROMOTING b under ANY 1 (c)
epoch 2 STABLE under b
a is fenced
members a' voter, b serving, c voter
