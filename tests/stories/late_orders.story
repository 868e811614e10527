# Orders of the epoch that was left reach members that sealed: they obey none of them.
fleet priority=b:200
lose a
until SEALING
until STABLE
restart a
run 1s
late a epoch=1
late b epoch=1
late c epoch=1
until whole
late a epoch=1
----
epoch 2 SEALING of a; prior a of epoch 1 under ANY 1 (b, c)
epoch 2 PROMOTING b under ANY 1 (c)
epoch 2 STABLE under b
late Serve of epoch 1 to a is refused: it carries 1/N, below the obeyed 2/N
late Follow of epoch 1 to b is refused: it carries 1/N, below the obeyed 2/N
late Follow of epoch 1 to c is refused: it carries 1/N, below the obeyed 2/N
late Serve of epoch 1 to a is refused: it carries 1/N, below the obeyed 2/N
