# covers: S24
# The primary is lost together with some standbys. With k of 2 among four voters, three seals prove that nothing
# else was acknowledged: the three survivors recover among themselves. (With k = 1 they could not know: s061.)
fleet members=5 k=2
lose e
lose a
until serving
show writes
run 3s
show members
heal
until whole
show rule
----
epoch 2 SEALING of a; prior a of epoch 1 under ANY 2 (b, c, d, e)
epoch 2 PROMOTING b under ANY 2 (c, d)
epoch 2 STABLE under b
writes are acknowledged
members a silent, b serving, c voter, d voter, e silent
rule ANY 2 (a, c, d, e)
