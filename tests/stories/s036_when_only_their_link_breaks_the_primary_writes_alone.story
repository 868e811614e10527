# covers: S36 T45
# Primary and standby reach the leader but not each other: commits wait, then the rule goes to solo and the
# waiting ones complete; healed, the standby gets the rows and is waited for again. Nobody is promoted.
fleet members=2
cut a b
run 1500ms
show writes
until solo
show writes
show record
mend
until whole
show rule
show writes
----
writes wait
writes are acknowledged
record epoch 1 STABLE of a, settled
rule ANY 1 (b)
writes are acknowledged
