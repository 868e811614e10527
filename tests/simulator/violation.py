"""What a checker raises."""


class Violation(AssertionError):
    """An invariant of the protocol does not hold."""
