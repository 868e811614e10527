# covers: S57
# A voter is marked nofailover while it streams: it leaves the rule, and streams on; unmarked, it votes again.
fleet
set b nofailover
run 5s
show rule
show members
show writes
set b follows
until whole
show rule
----
rule ANY 1 (c)
members a serving, b streaming, c voter
writes are acknowledged
rule ANY 1 (c)
