# covers: S55 S29
# A strict cluster never goes to solo: with its last voter gone its commits wait, and go on when it is back.
fleet members=2 strict
lose b
run 10s
until QuorumAtRisk
show why
show rule
restart b
until whole
show rule
----
why primary_healthy a: commits wait for voters (ANY 1 (b))
why strict_waits : ANY 1 (b): no voter is left, and the cluster is strict
rule ANY 1 (b)
rule ANY 1 (b)
