# covers: T50 T51
# At a switchover the primary is asked to stop first, and alone. Its stop is not heard of in time (a walsender, the
# archiver, or as here the path): then everybody is sealed, and the candidate takes over without it.
fleet
when SEALING cut a control
switchover c
until SEALING
run 3s
show why
until PROMOTING within 8s
show decided sealing_waits_for_primary handover_time_is_up
until done
mend
until whole
show members
----
epoch 2 SEALING of a; prior a of epoch 1 under ANY 1 (b, c)
why sealing_waits_for_primary a: for N of N ms
epoch 2 PROMOTING c under ANY 1 (b)
decided sealing_waits_for_primary
decided handover_time_is_up
epoch 2 STABLE under c
succeeded: c is the primary of epoch 2
members a voter, b voter, c serving
