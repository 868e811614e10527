# The primary's host is lost, and both standbys are forbidden to take over before that is noticed. Nobody may then, and
# it is said; as soon as the file allows one of them, it does.
fleet
lose a
run 600ms
set b nofailover
set c nofailover
run 5s
show rule
show candidates
set b follows
run 3s
show record
show writes
restart a
set c follows
until whole
show rule
----
rule ANY 1 (b, c)
candidate a: is_primary it is the member to be replaced
candidate b: nofailover nofailover is set in the cluster's file
candidate c: nofailover nofailover is set in the cluster's file
epoch 2 SEALING of a; prior a of epoch 1 under ANY 1 (b, c)
epoch 2 PROMOTING b under solo
epoch 2 STABLE under b
record epoch 2 STABLE of b, settled
writes are acknowledged
rule ANY 1 (a, c)
