# Two voters must have what was written before a change of the rule, and one of them hangs: the change is open until it
# has caught up.
fleet members=4 k=2
stall c 1500ms
set d nofailover
run 900ms
show rule
until whole
show rule
----
rule ANY 2 (b, c, d) -> ANY 2 (b, c)
rule ANY 2 (b, c)
