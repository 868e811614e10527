# covers: S65 T2
# The last voter is away and a commit waits for it when the primary crashes. The restart makes that row visible to
# whoever is let in; so nobody is, until a voter has it (strict: never by going to solo).
fleet members=2 strict
lose b
run 1s
show writes
crash a
run 10s
show members
show record
show writes
restart b
until serving
show writes
until whole
show members
----
writes wait
members a closed, b silent
record epoch 1 STABLE of a, settled
writes are not taken: nobody serves
writes are acknowledged
members a serving, b voter
