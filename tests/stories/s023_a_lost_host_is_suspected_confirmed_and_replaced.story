# covers: S1 S23
# A host is gone: silence is suspected, witnesses are asked, and only then everybody seals.
fleet priority=b:200
lose a
run 300ms
show why
until SEALING within 1500ms
until STABLE
until serving
show decided primary_suspected primary_host_lost
run 5s
show members
restart a
until whole
show rule
----
why primary_late a
epoch 2 SEALING of a; prior a of epoch 1 under ANY 1 (b, c)
epoch 2 PROMOTING b under ANY 1 (c)
epoch 2 STABLE under b
decided primary_suspected
decided primary_host_lost
members a silent, b serving, c voter
rule ANY 1 (a, c)
