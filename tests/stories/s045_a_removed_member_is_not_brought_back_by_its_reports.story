# covers: S45 S92
# A member is removed from the operator's file while it is a voter, streams, and goes on reporting. It leaves the
# rule first, then the record, and its reports do not bring it back. Named again, it comes under another number.
fleet
remove c
run 6s
show rule
show members
show decided membership_changed rule_change_finished
run 10s
show members
until whole
add c
until whole
show rule
show members
----
rule ANY 1 (b)
members a serving, b voter
decided membership_changed
decided rule_change_finished
members a serving, b voter
rule ANY 1 (b, c')
members a serving, b voter, c' voter
