# covers: S71
# The peer lets the position beat the priority. Primacy: everybody at or above the bounds has all that was
# acknowledged, so among them the priority decides, also over one that has more (which is rewound); but whoever is
# below a bound is out, and so is the preferred one where too few could follow it.
fleet
set c priority=200
run 500ms
crash a
until PROMOTING
until serving
fleet members=5 k=2
set c priority=200
run 500ms
stall d 3s
stall e 3s
run 100ms
stall c 3s
run 500ms
crash a
until PROMOTING
until serving
until whole
show members
fleet
set c priority=200
stall c 3s
run 500ms
crash a
until PROMOTING
until serving
fleet members=4 k=2
set c priority=200
run 500ms
stall c 3s
stall d 3s
run 500ms
crash a
until PROMOTING
until serving
fleet k=2
set c priority=200
run 500ms
stall c 3s
run 500ms
crash a
until PROMOTING
until serving
----
epoch 2 SEALING of a; prior a of epoch 1 under ANY 1 (b, c)
epoch 2 PROMOTING c under ANY 1 (b)
epoch 2 STABLE under c
epoch 2 SEALING of a; prior a of epoch 1 under ANY 2 (b, c, d, e)
epoch 2 PROMOTING c under ANY 2 (d, e)
epoch 2 STABLE under c
members a' voter, b' voter, c serving, d voter, e voter
epoch 2 SEALING of a; prior a of epoch 1 under ANY 1 (b, c)
epoch 2 PROMOTING b under ANY 1 (c)
epoch 2 STABLE under b
epoch 2 SEALING of a; prior a of epoch 1 under ANY 2 (b, c, d)
epoch 2 PROMOTING b under ANY 2 (c, d)
epoch 2 STABLE under b
epoch 2 SEALING of a; prior a of epoch 1 under ANY 2 (b, c)
epoch 2 PROMOTING b under ANY 1 (c)
epoch 2 STABLE under b
