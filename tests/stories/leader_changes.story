# covers: S17
# Leaders are replaced in SEALING and in PROMOTING: each goes on where the record is.
fleet priority=b:200
when SEALING replace leader
when PROMOTING replace leader
lose a
until SEALING
until STABLE
restart a
until whole
show rule
----
epoch 2 SEALING of a; prior a of epoch 1 under ANY 1 (b, c)
epoch 2 PROMOTING b under ANY 1 (c)
epoch 2 STABLE under b
rule ANY 1 (a, c)
