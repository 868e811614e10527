"""The agent's hands on PostgreSQL: every step of `agents/core/steps.py`, performed on a real server.

Nothing here decides. Rule of admission: it touches PostgreSQL's processes, files or SQL, with a deadline.
"""
