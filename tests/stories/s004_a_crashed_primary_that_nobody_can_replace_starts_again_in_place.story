# covers: S4 T49
# The peer restarts a crashed primary first; Primacy replaces it at once (s005), and starts it again where it is
# only when nobody could take over. Here both standbys are gone with it: after a pause it starts again on the same
# timeline in the same epoch; its rule can't be met, so it goes to solo, and only then are clients let in (s065).
fleet
lose b
lose c
run 1900ms
crash a
run 1s
show why
show record
until serving
show decided primary_crashed candidate_out_of_reach last_voter_lost
show timeline
show rule
show writes
heal
until whole
show rule
show record
----
why primary_crashed a: its agent says that the postmaster is gone
why candidate_out_of_reach : a: it is the member to be replaced; b: last heard N ms ago; c: last heard N ms ago
record epoch 1 STABLE of a, settled
decided primary_crashed
decided candidate_out_of_reach
decided last_voter_lost
timeline 1, the highest ever allocated is 1
rule solo
writes are acknowledged
rule ANY 1 (b, c)
record epoch 1 STABLE of a, settled
