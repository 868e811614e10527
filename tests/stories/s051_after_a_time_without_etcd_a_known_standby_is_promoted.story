# covers: S51
# The primary is lost while etcd is away: nobody decides. As soon as it is back a standby takes over that the
# record knows. The member that lost its state meanwhile is another incarnation: the old rule does not count it
# (two of three voters do), and it only follows.
fleet members=4 k=2
etcd away
forget d
lose a
run 20s
show record
etcd back
until serving within 8s
show writes
run 3s
show members
heal
until whole
----
record epoch 1 STABLE of a, settled
epoch 2 SEALING of a; prior a of epoch 1 under ANY 2 (b, c, d)
epoch 2 PROMOTING b under ANY 1 (c)
epoch 2 STABLE under b
writes are acknowledged
members a silent, b serving, c voter, d' voter
