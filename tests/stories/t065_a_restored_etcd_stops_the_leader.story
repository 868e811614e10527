# covers: T65
# etcd was restored from an older backup: members have obeyed more than the record knows. The leader stops.
fleet members=2
keep record
lose b
until solo
restore record
run 3s
show why
show rule
----
why record_went_back : this control node has stored epoch 1, revision 109; the record is at 1, 108: it went back, and nothing is done until it is adopted
rule ANY 1 (b)
