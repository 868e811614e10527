# covers: S29
# The last voter hangs, and is lost just after a change to the rule that names it alone was begun. The change is never
# dropped, and nobody can finish it or turn it back: commits wait until one of the two is back, and it is said for whom.
fleet
lose c
run 1500ms
stall b 3s
until CHANGE
lose b
run 10s
show rule
until QuorumAtRisk
show why
show writes
restart c
until serving
run 8s
show writes
heal
until whole
show rule
----
rule ANY 1 (b, c) -> ANY 1 (b)
why primary_healthy a: commits wait for voters (ANY 1 (b, c))
why rule_change_awaited : the change to ANY 1 (b) is open for N ms: 0 of its voters stream
writes wait
writes are acknowledged
rule ANY 1 (b, c)
