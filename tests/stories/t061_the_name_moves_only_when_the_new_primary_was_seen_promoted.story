# covers: T61
# While the place is taken anew the old answer stays, untouched; the name moves when the new primary's own facts
# show the promotion and its rule, never before.
fleet
show names
when SEALING show names
when PROMOTING show names
crash a
until STABLE
until serving
run 200ms
show names
until whole
show names
----
names primary.c1.db.example. 10.0.0.1 (read back)
epoch 2 SEALING of a; prior a of epoch 1 under ANY 1 (b, c)
names primary.c1.db.example. 10.0.0.1 (read back)
epoch 2 PROMOTING b under ANY 1 (c)
names primary.c1.db.example. as they were (not confirmed)
epoch 2 STABLE under b
names primary.c1.db.example. 10.0.0.2 (read back)
names primary.c1.db.example. 10.0.0.2 (read back)
