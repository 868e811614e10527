# covers: S19 S29
# The only standby is lost. First commits wait, and it is said for whom; after the profile's patience the rule goes
# to solo and writes flow; the standby comes back and is waited for again.
fleet members=2
lose b
until QuorumAtRisk within 1500ms
show why
show writes
until solo
run 3s
show writes
show decided last_voter_lost rule_change_finished
restart b
until whole
show rule
show record
----
why primary_healthy a: commits wait for voters (ANY 1 (b))
writes wait
writes are acknowledged
decided last_voter_lost
decided rule_change_finished
rule ANY 1 (b)
record epoch 1 STABLE of a, settled
