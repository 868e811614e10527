# covers: S42
# A lease is granted to the primary, for its epoch alone; another leader grants the same one; nobody has one while
# the place is taken anew; afterwards it is the new primary's.
fleet
show lease
replace leader
run 1s
show lease
switchover b
until SEALING
show lease
until STABLE
until done
show lease
----
lease to a for epoch 1
lease to a for epoch 1
epoch 2 SEALING of a; prior a of epoch 1 under ANY 1 (b, c)
lease to nobody
epoch 2 PROMOTING b under ANY 1 (c)
epoch 2 STABLE under b
succeeded: b is the primary of epoch 2
lease to b for epoch 2
