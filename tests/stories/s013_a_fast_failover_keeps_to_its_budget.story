# covers: S13
# The arithmetic of each profile, in a row: the primary's host is lost under load, and within the budget another
# one acknowledges; every member is attached again within a minute. (Milliseconds on real parts: `make bench`.)
fleet profile=fast
lose a
until SEALING within 900ms
until serving within 1500ms
show writes
show timeline
restart a
until whole within 60s
fleet
lose a
until SEALING within 1500ms
until serving within 2s
show writes
show timeline
restart a
until whole within 60s
fleet k=2
crash a
until SEALING within 300ms
until serving within 1500ms
restart a
until whole within 60s
show rule
----
epoch 2 SEALING of a; prior a of epoch 1 under ANY 1 (b, c)
epoch 2 PROMOTING b under ANY 1 (c)
epoch 2 STABLE under b
writes are acknowledged
timeline 2, the highest ever allocated is 2
epoch 2 SEALING of a; prior a of epoch 1 under ANY 1 (b, c)
epoch 2 PROMOTING b under ANY 1 (c)
epoch 2 STABLE under b
writes are acknowledged
timeline 2, the highest ever allocated is 2
epoch 2 SEALING of a; prior a of epoch 1 under ANY 2 (b, c)
epoch 2 PROMOTING b under ANY 1 (c)
epoch 2 STABLE under b
rule ANY 2 (a', c)
