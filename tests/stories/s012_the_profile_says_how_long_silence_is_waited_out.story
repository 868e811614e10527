# covers: S12
# There is no delay to configure; the cluster's profile says how much silence is borne. A patient cluster does
# nothing for its floor of two seconds, where the default one would have been done, and then says since when.
fleet profile=patient
lose a
run 1700ms
show why
show record
until SEALING within 6s
until STABLE
until serving
show decided primary_suspected primary_host_lost
heal
until whole
----
why primary_late a
record epoch 1 STABLE of a, settled
epoch 2 SEALING of a; prior a of epoch 1 under ANY 1 (b, c)
epoch 2 PROMOTING b under ANY 1 (c)
epoch 2 STABLE under b
decided primary_suspected
decided primary_host_lost
