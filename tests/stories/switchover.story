# covers: S83
# A person moves the primary: it stops cleanly, its end is the bound, and it follows without a rewind.
fleet
switchover c
until SEALING
until done
until whole
show members
----
epoch 2 SEALING of a; prior a of epoch 1 under ANY 1 (b, c)
epoch 2 PROMOTING c under ANY 1 (b)
epoch 2 STABLE under c
succeeded: c is the primary of epoch 2
members a voter, b voter, c serving
