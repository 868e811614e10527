# covers: S7
# Somebody stops a standby's PostgreSQL behind its agent's back: the agent starts it again, nobody's role changes.
fleet
crash b
run 5s
show members
show rule
show record
show writes
----
members a serving, b voter, c voter
rule ANY 1 (b, c)
record epoch 1 STABLE of a, settled
writes are acknowledged
