# Both voters are lost, and the primary's agent forgot everything: what is there may be anybody's data. Nobody is
# promoted on its word; the seals of the voters are awaited.
fleet
lose b
lose c
forget a
run 6s
show prior
show rule
restart b
restart c
until whole
----
epoch 2 SEALING of a; prior a of epoch 1 under ANY 1 (b, c)
prior a of epoch 1 under ANY 1 (b, c)
rule ANY 1 (b, c)
epoch 2 PROMOTING b under ANY 1 (c)
epoch 2 STABLE under b
