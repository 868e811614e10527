# covers: S6
# The primary's configuration was made invalid, then its postmaster dies. Primacy does not even try to start it
# (the peer tries first): a standby is promoted at once. The old one stays out and says why, until it is mended.
fleet
unstartable a
crash a
until serving within 5s
run 10s
show members
show error a
show writes
unstartable a mended
until whole
show members
----
epoch 2 SEALING of a; prior a of epoch 1 under ANY 1 (b, c)
epoch 2 PROMOTING b under ANY 1 (c)
epoch 2 STABLE under b
members a' stopped, b serving, c voter
error of a: PostgreSQL does not start: its configuration file has an error
writes are acknowledged
members a' voter, b serving, c voter
