# Two voters lose their data directories within one rule change, and their agents are started again: they are others
# now, whom neither rule counts. Neither can be met again, so the epoch is left, as where agents forget.
fleet members=4 k=2
when CHANGE empty d
empty c
until SEALING
until whole
show rule
show decided rule_change_never_ends
----
epoch 2 SEALING of a; prior a of epoch 1 under ANY 2 (b, c, d); a of epoch 1 under ANY 2 (b, d)
epoch 2 PROMOTING a under ANY 1 (b)
epoch 2 STABLE under a
rule ANY 2 (b, c', d')
decided rule_change_never_ends
