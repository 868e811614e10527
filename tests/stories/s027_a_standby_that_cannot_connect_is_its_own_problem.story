# covers: S27 T45
# One standby can't reach the primary, both are heard by the leader: it leaves the rule, the primary is healthy.
fleet
cut a b
run 6s
show diagnosis
show members
show rule
show record
show writes
mend
until whole
show rule
----
diagnosis Healthy
members a serving, b attaching, c voter
rule ANY 1 (c)
record epoch 1 STABLE of a, settled
writes are acknowledged
rule ANY 1 (b, c)
