"""What every checker raises."""

from __future__ import annotations


class Violation(AssertionError):
    """An invariant of the protocol does not hold."""
