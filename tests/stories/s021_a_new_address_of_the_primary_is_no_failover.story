# covers: S21
# The primary gets another address in the operator's file: DNS says it, nobody fails over.
fleet
address a 10.0.0.99
run 3s
show names
show decided membership_changed
show record
show writes
until whole
----
names primary.c1.db.example. 10.0.0.99 (read back)
decided membership_changed
record epoch 1 STABLE of a, settled
writes are acknowledged
