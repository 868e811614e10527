# covers: S40
# An old primary, which took more than anybody got from it, restarts after a failover: it becomes a standby with the
# new rows by a rewind, under another incarnation; where the rewind fails, by a clone; with one voter to wait for
# and with two. After a switchover it needs neither, and keeps its incarnation.
fleet
isolate a
run 300ms
lose a
until SEALING
until serving
show writes
restart a
mend
until whole
show members
show lost a
fleet
rewind-fails a
isolate a
run 300ms
lose a
until SEALING
until serving
restart a
mend
until whole
show members
fleet k=2
isolate a
run 300ms
lose a
until SEALING
until serving
restart a
mend
until whole
show members
show rule
fleet members=2
switchover b
until SEALING
until done
until whole
show members
show lost a
----
epoch 2 SEALING of a; prior a of epoch 1 under ANY 1 (b, c)
epoch 2 PROMOTING b under ANY 1 (c)
epoch 2 STABLE under b
writes are acknowledged
members a' voter, b serving, c voter
lost at a: what lay up to 1@LSN
epoch 2 SEALING of a; prior a of epoch 1 under ANY 1 (b, c)
epoch 2 PROMOTING b under ANY 1 (c)
epoch 2 STABLE under b
members a' voter, b serving, c voter
epoch 2 SEALING of a; prior a of epoch 1 under ANY 2 (b, c)
epoch 2 PROMOTING b under ANY 1 (c)
epoch 2 STABLE under b
members a' voter, b serving, c voter
rule ANY 2 (a', c)
epoch 2 SEALING of a; prior a of epoch 1 under ANY 1 (b)
epoch 2 PROMOTING b under ANY 1 (a)
epoch 2 STABLE under b
succeeded: b is the primary of epoch 2
members a voter, b serving
lost at a: nothing
