# covers: S18 S48
# etcd is away for a minute, so nobody leads. Roles stay, writes go on; when it is back nothing was decided.
fleet
etcd away
run 5s
show writes
run 55s
show writes
etcd back
run 6s
show record
show rule
show why
until whole
----
writes are acknowledged
writes are acknowledged
record epoch 1 STABLE of a, settled
rule ANY 1 (b, c)
why primary_late a
