"""Mutants: each takes one clause of docs/protocol.md away from the code; the simulator must notice."""
