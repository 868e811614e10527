# covers: S22
# Only the path from the primary to the control node is cut; the standbys still hear from it: no failover.
fleet
cut a control
run 10s
show why
mend
until whole
----
why control_path_cut a: silent for N ms, the threshold is N ms; c passes its beats on, the newest N ms ago: it acknowledges commits
