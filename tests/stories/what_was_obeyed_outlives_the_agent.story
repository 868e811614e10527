# The agent of a member that sealed, and follows the new primary now, is killed and started again: what it obeyed it
# still knows, and an order of the epoch that was left is refused.
fleet priority=b:200
lose a
until SEALING
until STABLE
run 500ms
kill-agent c
run 900ms
late c epoch=1
restart a
until whole
----
epoch 2 SEALING of a; prior a of epoch 1 under ANY 1 (b, c)
epoch 2 PROMOTING b under ANY 1 (c)
epoch 2 STABLE under b
late Follow of epoch 1 to c is refused: it carries 1/N, below the obeyed 2/N
