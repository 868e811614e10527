"""`primacy`, what people type: a client of `protos/operator.proto`, and of nothing else.

Nothing here reaches etcd, an agent or PostgreSQL, and nothing here decides: it reads what the operator
wrote, asks a control node, and says what the answer was.
"""
