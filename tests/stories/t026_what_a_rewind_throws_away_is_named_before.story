# covers: T26
# An old primary has WAL that nobody got. The leader gives leave to throw it away only once the member has said
# where it ends, for exactly that end, and the member keeps the account of it afterwards.
fleet
isolate a
run 300ms
lose a
until SEALING
until STABLE
until serving
restart a
mend
until whole
show decided rebuild_allowed incarnation_adopted
show lost a
show members
----
epoch 2 SEALING of a; prior a of epoch 1 under ANY 1 (b, c)
epoch 2 PROMOTING b under ANY 1 (c)
epoch 2 STABLE under b
decided rebuild_allowed
decided incarnation_adopted
lost at a: what lay up to 1@LSN
members a' voter, b serving, c voter
