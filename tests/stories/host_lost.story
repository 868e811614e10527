# A host is gone: silence is suspected, witnesses are asked, and only then everybody seals.
fleet priority=b:200
lose a
run 500ms
show why
run 180ms
show why
until SEALING
until serving
run 5s
show members
restart a
until whole
show rule
----
why primary_late a
why primary_suspected a: silent for N ms, the threshold is N ms
epoch 2 SEALING of a; prior a of epoch 1 under ANY 1 (b, c)
epoch 2 PROMOTING b under ANY 1 (c)
epoch 2 STABLE under b
members a silent, b serving, c voter
rule ANY 1 (a, c)
