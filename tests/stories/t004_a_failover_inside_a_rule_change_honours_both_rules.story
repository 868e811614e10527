# covers: T4
# The primary crashes while its rule is being changed: both rules may have been in force, so both are priors.
fleet
when CHANGE crash primary
lose c
run 1500ms
stall b 3s
until SEALING
until STABLE
restart c
until whole
show rule
----
epoch 2 SEALING of a; prior a of epoch 1 under ANY 1 (b, c); a of epoch 1 under ANY 1 (b)
epoch 2 PROMOTING a under ANY 1 (b)
epoch 2 STABLE under a
rule ANY 1 (b, c)
