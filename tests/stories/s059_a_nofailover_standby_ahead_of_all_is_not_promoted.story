# covers: S59
# The only voter hangs, so commits wait; a nofailover standby has them already. The primary is lost: the voter is
# promoted, which has everything acknowledged, and not the one that is ahead; that one throws its surplus away,
# and so does the old primary.
fleet nofailover=b
show rule
stall c 2s
run 500ms
show writes
lose a
until PROMOTING
until serving
restart a
until whole
show members
show rule
----
rule ANY 1 (c)
writes wait
epoch 2 SEALING of a; prior a of epoch 1 under ANY 1 (c)
epoch 2 PROMOTING c under solo
epoch 2 STABLE under c
members a' voter, b' streaming, c serving
rule ANY 1 (a')
