# covers: S85
# One standby after the other is taken out of the election: the primary goes on accepting writes, alone in the
# end, and a switchover is refused with the reason of each.
fleet
set b nofailover
run 4s
show rule
set c nofailover
run 6s
show rule
show writes
switchover
run 300ms
show record
set b follows
set c follows
until whole
show rule
----
rule ANY 1 (c)
rule solo
writes are acknowledged
refused: no member can take over: a: it is the member to be replaced; b: nofailover is set in the cluster's file; c: nofailover is set in the cluster's file
  a: is_primary: it is the member to be replaced
  b: nofailover: nofailover is set in the cluster's file
  c: nofailover: nofailover is set in the cluster's file
record epoch 1 STABLE of a, settled
rule ANY 1 (b, c)
