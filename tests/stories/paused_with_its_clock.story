# A machine paused with its clocks knows nothing of the pause: it goes on for a lease of its own time, or until it
# hears of its successor, and acknowledges nothing meanwhile.
fleet
freeze a clock
until SEALING
until serving
cut a control
cut a b
cut a c
thaw a
run 8s
mend
until whole
show members
----
epoch 2 SEALING of a; prior a of epoch 1 under ANY 1 (b, c)
epoch 2 PROMOTING b under ANY 1 (c)
epoch 2 STABLE under b
members a' voter, b serving, c voter
