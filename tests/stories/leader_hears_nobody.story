# A leader that hears no member, while others do, gives up the election; the primary stays the primary.
fleet controls=3
deafen leader
run 10s
show why
show rule
----
why primary_healthy a
rule ANY 1 (b, c)
