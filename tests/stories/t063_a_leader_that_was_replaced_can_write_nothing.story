# covers: T63 T66
# Another leader was elected, and the old one does not know it yet when the primary crashes: both decide. The old
# one's record is refused by etcd, because its election is over; the epoch moves once.
fleet
second leader
run 100ms
crash a
until SEALING
until whole
show record
show timeline
----
epoch 2 SEALING of a; prior a of epoch 1 under ANY 1 (b, c)
epoch 2 PROMOTING b under ANY 1 (c)
epoch 2 STABLE under b
record epoch 2 STABLE of b, settled
timeline 2, the highest ever allocated is 2
