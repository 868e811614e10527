# covers: S14
# The primary's data directory is removed. A standby takes over; the member comes back as a clone, under another
# incarnation: what it had promised to keep is gone, so the old one never counts again (R13).
fleet
destroy a
until serving
show decided primary_crashed
until whole
show members
show writes
----
epoch 2 SEALING of a; prior a of epoch 1 under ANY 1 (b, c)
epoch 2 PROMOTING b under ANY 1 (c)
epoch 2 STABLE under b
decided primary_crashed
members a' voter, b serving, c voter
writes are acknowledged
