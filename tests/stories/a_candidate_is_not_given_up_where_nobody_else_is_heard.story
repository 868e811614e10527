# The candidate is lost inside its promotion, and nobody else is heard either: leaving its epoch would help nobody, so
# that nothing is changed, and the status says who is missing. (Seed: c must fall silent before b does.)
fleet priority=b:200 seed=11
when PROMOTING cut c control
when PROMOTING lose candidate
lose a
until PROMOTING
run 12s
show prior
show decided candidate_given_up seals_out_of_reach
heal
until whole
----
epoch 2 SEALING of a; prior a of epoch 1 under ANY 1 (b, c)
epoch 2 PROMOTING b under ANY 1 (c)
prior a of epoch 1 under ANY 1 (b, c) (bound known)
decided candidate_given_up
decided seals_out_of_reach
epoch 3 SEALING of a; prior a of epoch 1 under ANY 1 (b, c) (bound known); b of epoch 2 under ANY 1 (c)
epoch 3 PROMOTING c under ANY 1 (b)
epoch 3 STABLE under c
