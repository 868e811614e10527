# covers: S83 T50
# A planned move under load: a few seconds at the most without writes, every standby attached again within a minute,
# nothing rewound: the old primary follows under the incarnation that it had.
fleet
switchover
until SEALING within 1s
until STABLE within 3s
until serving within 1s
until done
show writes
until whole within 60s
show members
show names
----
epoch 2 SEALING of a; prior a of epoch 1 under ANY 1 (b, c)
epoch 2 PROMOTING b under ANY 1 (c)
epoch 2 STABLE under b
succeeded: b is the primary of epoch 2
writes are acknowledged
members a voter, b serving, c voter
names primary.c1.db.example. 10.0.0.2 (read back)
