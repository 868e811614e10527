# etcd comes back from an old copy, and no member is heard: the control node itself has seen a higher revision, so that
# its leader stops for this cluster.
fleet controls=3
keep record
switchover b
until SEALING
until STABLE
until whole
cut a control
cut b control
cut c control
restore record
run 6s
show why
----
epoch 2 SEALING of a; prior a of epoch 1 under ANY 1 (b, c)
epoch 2 PROMOTING b under ANY 1 (c)
epoch 2 STABLE under b
succeeded: b is the primary of epoch 2
why record_went_back : this control node has stored epoch 2, revision 119; the record is at 1, 111: it went back, and nothing is done until it is adopted
