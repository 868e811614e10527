# All control nodes are out of reach, and agents and guards die one after the other and both at once: a primary
# whose voters answer goes on under its own commits. Nothing has changed when the control plane is back.
fleet
cut b control
cut c control
run 3s
cut a control
run 3s
kill-agent a
run 8s
kill-guard a
run 8s
kill-both a
run 8s
freeze a agent
run 12s
thaw a
freeze a guard
run 12s
mend
heal
run 3s
until whole
show rule
show members
----
rule ANY 1 (b, c)
members a serving, b voter, c voter
