# The last voter was lost and the primary went on alone; then it is lost too. The member that comes back can't
# know what was acknowledged meanwhile: it waits for the primary by name.
fleet members=2
lose b
until solo
run 1s
lose a
restart b
run 8s
show why
restart a
until whole
show rule
----
why primary_host_lost a: silent for N ms, the threshold is N ms; its PostgreSQL does not answer; no other control node and no standby hears it any more
why seals_out_of_reach a: missing: a, which alone may have acknowledged in epoch 1 (rule solo)
rule ANY 1 (b)
