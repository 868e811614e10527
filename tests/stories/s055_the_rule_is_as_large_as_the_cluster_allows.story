# covers: S55
# What the primary waits for, by the number of members and k: alone for nobody; a strict cluster without its last
# voter for nobody who could answer; else for k of all others, cut to as many as there are.
fleet members=1
show rule
show writes
fleet members=2
show rule
fleet members=2 strict
lose b
run 5s
show rule
show writes
fleet members=3
show rule
fleet members=3 k=2
show rule
lose c
run 6s
show rule
show writes
restart c
until whole
show rule
fleet members=5 k=2
show rule
----
rule solo
writes are acknowledged
rule ANY 1 (b)
rule ANY 1 (b)
writes wait
rule ANY 1 (b, c)
rule ANY 2 (b, c)
rule ANY 1 (b)
writes are acknowledged
rule ANY 2 (b, c)
rule ANY 2 (b, c, d, e)
