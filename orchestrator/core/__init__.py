"""Deciding: a pure function of the record, what was heard, and `now`.

No clock, no I/O, no randomness, no logging: import-linter enforces it. The same code runs in
the daemon, in the simulator, and in `primacy what-if`.
"""
