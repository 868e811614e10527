# covers: S15 T68
# All control nodes are down when the primary's host is lost: nothing is promoted, however long. The leader that
# comes back has an empty view: it listens first, and then finds a primary that it never heard.
fleet
stop-control
lose a
run 30s
show record
show writes
replace leader
run 1500ms
show why
until SEALING
show decided primary_host_lost
until serving
restart a
until whole
show members
----
record epoch 1 STABLE of a, settled
writes are not taken: nobody serves
why warming_up a: listening for N ms
epoch 2 SEALING of a; prior a of epoch 1 under ANY 1 (b, c)
decided primary_host_lost
epoch 2 PROMOTING b under ANY 1 (c)
epoch 2 STABLE under b
members a voter, b serving, c voter
