# covers: S67 T7
# The voter that had acknowledged is unreachable together with the primary; the other one lags. It is not
# promoted, whatever it costs, until one of the two is back.
fleet
stall c 3s
run 500ms
cut b control
lose a
run 6s
show why
mend
until serving
heal
until whole
----
why primary_host_lost a: silent for N ms, the threshold is N ms; its PostgreSQL does not answer; no other control node and no standby hears it any more
why seals_out_of_reach a: missing: 1 of b, or a (epoch 1, rule ANY 1 (b, c))
epoch 2 SEALING of a; prior a of epoch 1 under ANY 1 (b, c)
epoch 2 PROMOTING b under ANY 1 (c)
epoch 2 STABLE under b
