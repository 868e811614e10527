# covers: S61
# With two of three gone nobody can know what was acknowledged: nothing is changed, and it is said who is missing.
fleet
lose b
run 1600ms
lose a
run 10s
show why
show candidates
restart b
until serving
----
why primary_host_lost a: silent for N ms, the threshold is N ms; its PostgreSQL does not answer; no other control node and no standby hears it any more
why seals_out_of_reach a: missing: 1 of b, or a (epoch 1, rule ANY 1 (b, c))
candidate c: eligible
candidate a: is_primary it is the member to be replaced
candidate b: silent last heard N ms ago
epoch 2 SEALING of a; prior a of epoch 1 under ANY 1 (b, c)
epoch 2 PROMOTING c under ANY 1 (b)
epoch 2 STABLE under c
