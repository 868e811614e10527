# covers: T33
# A primary that became a standby, without a rewind, still has the slots that it made for the others. They would hold
# back WAL on its own disk, and by its feedback the vacuum of the new primary: they go as it attaches.
fleet
switchover b
until SEALING
until done
until whole
run 2s
show members
show slots a
show slots
----
epoch 2 SEALING of a; prior a of epoch 1 under ANY 1 (b, c)
epoch 2 PROMOTING b under ANY 1 (c)
epoch 2 STABLE under b
succeeded: b is the primary of epoch 2
members a voter, b serving, c voter
slots of a: none
slots of b: a_1_e2, c_2_e2
