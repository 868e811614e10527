# covers: S58
# One of two voters hangs under load, still connected. The peer replaces it as the one that is waited for; Primacy
# waits for any one of the two, so the other one answers at once, and the rule stays as it is.
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
rule ANY 1 (b, c)
record epoch 1 STABLE of a, settled
