# covers: S5
# The plain case: the postmaster of the primary dies, the agent says so at once, and a voter takes over.
# The rule shrinks to who was sealed and grows back; the old primary has nothing that its successor lacks, so it
# follows as it is and votes again.
fleet priority=b:200 seed=3
crash a
until SEALING
until whole
show rule
show members
show decided primary_crashed candidate_chosen promotion_awaited promoted settled rule_change_finished
----
epoch 2 SEALING of a; prior a of epoch 1 under ANY 1 (b, c)
epoch 2 PROMOTING b under ANY 1 (c)
epoch 2 STABLE under b
rule ANY 1 (a', c)
members a' voter, b serving, c voter
decided primary_crashed
decided candidate_chosen
decided promotion_awaited
decided promoted
decided settled
decided rule_change_finished
