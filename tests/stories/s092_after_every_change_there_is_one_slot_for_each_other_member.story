# covers: S92 T30 T31
# After each change of roles the primary has exactly one slot for every other member, of its own epoch; a rebuilt
# member's old slot goes, and so does that of a member that left, once it streams no more: neither holds WAL until
# the next failover.
fleet
show slots
crash a
until SEALING
until whole
show slots
isolate b
run 300ms
lose b
until SEALING
until STABLE
until serving
mend
restart b
until whole
run 3s
show members
show slots
remove b
lose b
run 8s
show slots
fleet
forget c
run 5s
until whole
run 3s
show members
show slots
----
slots of a: b_2_e1, c_2_e1
epoch 2 SEALING of a; prior a of epoch 1 under ANY 1 (b, c)
epoch 2 PROMOTING b under ANY 1 (c)
epoch 2 STABLE under b
slots of b: a_2_e2, c_2_e2
epoch 3 SEALING of b; prior b of epoch 2 under ANY 1 (a', c)
epoch 3 PROMOTING a under ANY 1 (c)
epoch 3 STABLE under a
members a' serving, b' voter, c voter
slots of a: b_3_e3, c_2_e3
slots of a: c_2_e3
members a serving, b voter, c' voter
slots of a: b_2_e1, c_3_e1
