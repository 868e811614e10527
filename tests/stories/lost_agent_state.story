# An agent that lost its state speaks as another incarnation. No rule counts it until it joined anew.
fleet
forget c
run 150ms
show rule
show members
until whole
show rule
----
rule ANY 1 (b, c) -> ANY 1 (b)
members a serving, b voter, c' attaching
rule ANY 1 (b, c')
