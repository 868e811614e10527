# A voter whose data directory is removed under its running agent is another incarnation at once (R7): it may be cloned,
# because the one that the rule names is never that again. The rule goes on without it.
fleet
destroy b
until CHANGE
show rule
show decided rebuild_allowed
until whole
show rule
show members
show decided rebuild_allowed
----
rule ANY 1 (b, c) -> ANY 1 (c)
never decided rebuild_allowed
rule ANY 1 (b', c)
members a serving, b' voter, c voter
decided rebuild_allowed
