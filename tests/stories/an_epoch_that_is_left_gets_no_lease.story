# A person orders a failover, and nothing from the control nodes reaches the primary: it is heard, and knows of nothing.
# From the moment that its epoch is left it is granted no lease, and another one takes its place.
fleet
block control a
failover force
until SEALING
until STABLE
run 6s
heal
until whole
----
epoch 2 SEALING of a; prior a of epoch 1 under ANY 1 (b, c)
epoch 2 PROMOTING b under ANY 1 (c)
epoch 2 STABLE under b
a is fenced
succeeded: b is the primary of epoch 2
