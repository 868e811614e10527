# covers: T7
# The primary is cut off together with the voter that acknowledges, at once and then the voter first; the leader
# hears only the other standby. What was acknowledged may be on the far side alone, so the epoch is not left and
# nobody is promoted; over there the clients' writes go on, and are still there when the two are back.
fleet
cut a control
cut b control
cut a c
cut b c
run 10s
show why
show record
show writes
mend
until whole
run 2s
show record
fleet
cut b control
run 1600ms
cut a control
cut a c
cut b c
run 10s
show why
show record
show writes
mend
until whole
run 2s
show record
show members
----
why primary_host_lost a: silent for N ms, the threshold is N ms; its PostgreSQL does not answer; no other control node and no standby hears it any more
why seals_out_of_reach a: missing: 1 of b, or a (epoch 1, rule ANY 1 (b, c))
record epoch 1 STABLE of a, settled
writes are acknowledged
record epoch 1 STABLE of a, settled
why primary_host_lost a: silent for N ms, the threshold is N ms; its PostgreSQL does not answer; no other control node and no standby hears it any more
why seals_out_of_reach a: missing: 1 of b, or a (epoch 1, rule ANY 1 (b, c))
record epoch 1 STABLE of a, settled
writes are acknowledged
record epoch 1 STABLE of a, settled
members a serving, b voter, c voter
