# covers: T70
# The leader loses the primary and one standby at once; the other standby, which it hears, still receives from the
# primary, whose voters both answer. Each path is judged by itself: no failover, no change of the rule.
fleet
cut a control
cut b control
run 10s
show why
show rule
show record
show writes
mend
until whole
show record
----
why control_path_cut a: silent for N ms, the threshold is N ms; c passes its beats on, the newest N ms ago: it acknowledges commits
rule ANY 1 (b, c)
record epoch 1 STABLE of a, settled
writes are acknowledged
record epoch 1 STABLE of a, settled
