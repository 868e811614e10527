# covers: S58
# One of two voters hangs under load, still connected. The peer replaces it as the one that is waited for; Primacy
# waits for any one of the two, so the other one answers at once. When the walsender has heard nothing for its time
# (wal_sender_timeout) the member counts as lost, and the rule goes on without it.
fleet
stall b 20s
run 3s
show writes
show rule
show diagnosis
run 10s
show writes
show rule
show record
----
writes are acknowledged
rule ANY 1 (b, c)
diagnosis Healthy
writes are acknowledged
rule ANY 1 (c)
record epoch 1 STABLE of a, settled
