# covers: S1
# The primary's host is killed without a word. Exactly one standby takes over, the other one follows it, the old
# primary comes back as a standby, and the clients' rows go on; that none is lost the checkers say.
fleet
lose a
until STABLE
until serving
show writes
run 3s
show members
restart a
until whole
show writes
show members
show record
----
epoch 2 SEALING of a; prior a of epoch 1 under ANY 1 (b, c)
epoch 2 PROMOTING b under ANY 1 (c)
epoch 2 STABLE under b
writes are acknowledged
members a silent, b serving, c voter
writes are acknowledged
members a voter, b serving, c voter
record epoch 2 STABLE of b, settled
