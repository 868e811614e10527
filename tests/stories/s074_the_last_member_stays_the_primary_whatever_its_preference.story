# covers: S74
# The primary is marked nofailover, then all others are removed: it is never told to step down, and writes alone.
fleet
set a nofailover
run 2s
show record
remove b
remove c
run 10s
show rule
show members
show writes
show record
----
record epoch 1 STABLE of a, settled
rule solo
members a serving
writes are acknowledged
record epoch 1 STABLE of a, settled
