# covers: S37
# Both standbys are taken out of the election (nofailover; Primacy has no maintenance mode of its own yet), then
# the primary is cut off: it can't be replaced, it is said by whom it was not, and it is the primary when it is back.
fleet nofailover=b,c
show rule
show names
lose a
run 10s
show why
show candidates
restart a
until whole
show record
show writes
----
rule solo
names primary.c1.db.example. 10.0.0.1 (read back)
why primary_host_lost a: silent for N ms, the threshold is N ms; its PostgreSQL does not answer; no other control node and no standby hears it any more
why seals_out_of_reach a: missing: a, which alone may have acknowledged in epoch 1 (rule solo)
why candidate_out_of_reach : a: it is the member to be replaced; b: nofailover is set in the cluster's file; c: nofailover is set in the cluster's file
candidate a: is_primary it is the member to be replaced
candidate b: nofailover nofailover is set in the cluster's file
candidate c: nofailover nofailover is set in the cluster's file
record epoch 1 STABLE of a, settled
writes are acknowledged
