# An agent that lost its state speaks as another incarnation. No rule counts it until it joined anew.
fleet
forget c
until CHANGE
show rule
until whole
show rule
show members
----
rule ANY 1 (b, c) -> ANY 1 (b)
rule ANY 1 (b, c')
members a serving, b voter, c' voter
