# covers: S77
# The leader and one standby have lost the primary, the other standby still receives from it: no failover.
fleet
cut a control
cut a b
run 10s
show why
show record
mend
until whole
show record
----
why control_path_cut a: silent for N ms, the threshold is N ms; c passes its beats on, the newest N ms ago: it acknowledges commits
record epoch 1 STABLE of a, settled
record epoch 1 STABLE of a, settled
