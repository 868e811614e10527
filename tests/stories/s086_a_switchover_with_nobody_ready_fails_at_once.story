# covers: S86 S79
# A switchover, and a failover, are asked for while no standby is ready: both are refused at once, with the reason
# of each member; a healthy primary is not failed over without force either.
fleet
lose b
lose c
until solo
run 500ms
switchover
run 200ms
failover
run 200ms
lose a
run 1500ms
failover
run 200ms
heal
until whole
show record
----
refused: no member can take over: a: it is the member to be replaced; b: last heard N ms ago; c: last heard N ms ago
  a: is_primary: it is the member to be replaced
  b: silent: last heard N ms ago
  c: silent: last heard N ms ago
refused: a is Healthy; use switchover, or --force to seal it all the same
refused: nobody could take over: missing: a, which alone may have acknowledged in epoch 1 (rule solo); a: it is the member to be replaced; b: last heard N ms ago; c: last heard N ms ago; --force seals all the same, and nobody will serve until they answer
  a: is_primary: it is the member to be replaced
  b: silent: last heard N ms ago
  c: silent: last heard N ms ago
record epoch 1 STABLE of a, settled
