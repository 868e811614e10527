"""Faults that the simulator must find by itself, each within a minute."""
