# covers: S29
# Both standbys are lost within the time that one is waited for. No change is begun towards a rule that nobody who
# streams could meet (it would stay open until one is back): the rule goes to solo at once when both are given up.
fleet
lose c
lose b
until solo within 12s
show decided last_voter_lost
show writes
heal
until whole
show rule
----
decided last_voter_lost
writes are acknowledged
rule ANY 1 (b, c)
