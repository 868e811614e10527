# The primary's control path is cut and its voters go on: that is no failover, and no change of the rule is begun that
# it could not be told of, whatever the operator's file says by now.
fleet
cut a control
run 2s
set c nofailover
run 2s
show rule
mend
run 3s
until whole
show rule
----
rule ANY 1 (b, c)
rule ANY 1 (b)
