"""The error of a story that can't be told; beside it so that its parts can raise it too."""

from __future__ import annotations


class Untellable(ValueError):
    """A command that is not known, or that waits for what does not come."""
