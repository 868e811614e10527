"""Errors, sorted by what the caller must do (architecture.md, "Failure is designed").

The adapter that met the trouble translates it (`raise ... from`); nobody above an
adapter sees a driver's exception.
"""

from __future__ import annotations

from collections.abc import Iterable


class FailoverError(Exception):
    """The root of all; never raised itself."""


class NotDelivered(FailoverError):
    """The request surely did not arrive. Trying again is safe."""


class OutcomeUnknown(FailoverError):
    """It may have happened. Never repeat blindly: look at the next report, then decide."""


class Refused(FailoverError):
    """The peer said no (old epoch, wrong role). A fact for the core, not a failure to retry."""


class LostLeadership(FailoverError):
    """Our term is over. Cancel every task of the term, in this turn; go on listening."""


class BadConfig(FailoverError):
    """An operator's mistakes, all of them at once: each names file, key, value and remedy."""

    def __init__(self, mistakes: Iterable[str]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("\n".join(self.mistakes))
