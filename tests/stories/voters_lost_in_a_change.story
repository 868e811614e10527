# Two voters lose their state within one rule change. Neither rule can ever be met again, and a change is never
# dropped: the epoch is left, which the primary's own seal allows.
fleet members=4 k=2
when CHANGE forget d
forget c
until SEALING
until whole
show rule
show decided rule_change_never_ends
----
epoch 2 SEALING of a; prior a of epoch 1 under ANY 2 (b, c, d); a of epoch 1 under ANY 2 (b, d)
epoch 2 PROMOTING d under ANY 2 (a, b)
epoch 2 STABLE under d
rule ANY 2 (a, b, c')
decided rule_change_never_ends
