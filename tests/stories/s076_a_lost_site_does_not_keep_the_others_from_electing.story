# covers: S76
# The whole site of the primary is lost. The peer then elects nobody elsewhere; Primacy counts seals, not sites:
# three of four voters prove that the lost ones can acknowledge nothing more, so the other site takes over.
fleet members=5 k=2 sites=a:east,b:east,c:west,d:west,e:west
lose a
lose b
until serving
show writes
run 3s
show members
heal
until whole
show rule
----
epoch 2 SEALING of a; prior a of epoch 1 under ANY 2 (b, c, d, e)
epoch 2 PROMOTING c under ANY 2 (d, e)
epoch 2 STABLE under c
writes are acknowledged
members a silent, b silent, c serving, d voter, e voter
rule ANY 2 (a, b, d, e)
