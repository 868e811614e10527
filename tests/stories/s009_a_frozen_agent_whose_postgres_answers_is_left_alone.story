# covers: S9
# The agent is gone, its PostgreSQL answers our own query: a warning, not a failover.
fleet
stop-agent a
run 10s
show why
heal
until whole
----
why agent_lost a: silent for N ms, the threshold is N ms; but its PostgreSQL answers our own query
