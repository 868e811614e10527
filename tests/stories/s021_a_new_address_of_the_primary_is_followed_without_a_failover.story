# covers: S21
# The primary gets another address in the operator's file: DNS says it, the standbys look for it there, and nobody
# fails over.
fleet
show upstream b
address a 10.0.0.99
run 3s
show upstream b
show upstream c
show names
show decided membership_changed
show record
show writes
until whole
show members
----
upstream of b: a at 10.0.0.1:5432
upstream of b: a at 10.0.0.99:5432
upstream of c: a at 10.0.0.99:5432
names primary.c1.db.example. 10.0.0.99 (read back)
decided membership_changed
record epoch 1 STABLE of a, settled
writes are acknowledged
members a serving, b voter, c voter
