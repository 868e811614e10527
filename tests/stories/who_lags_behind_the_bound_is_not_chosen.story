# The preferred standby lags when the primary is lost. Between its end and the other one's may lie what was
# acknowledged, so the other one is chosen, whatever the priorities say.
fleet priority=b:200
cut a b
run 400ms
lose a
mend
until SEALING
until STABLE
restart a
until whole
----
epoch 2 SEALING of a; prior a of epoch 1 under ANY 1 (b, c)
epoch 2 PROMOTING c under ANY 1 (b)
epoch 2 STABLE under c
