# The end of a rule change never reaches the primary, which then crashes where nobody else can take over: it starts again
# in place, with the rule that it stored last, and not with the one of the order that it has.
fleet
cut b control
cut c control
run 2500ms
when CHANGE block control a
set c nofailover
until CHANGE
run 900ms
show rule
crash a
run 4s
heal
until whole
show rule
----
rule ANY 1 (b)
rule ANY 1 (b)
