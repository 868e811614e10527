"""The members of the adapter's tests, here under the agent's own core."""

from __future__ import annotations

from tests.adapters.postgres.conftest import home, template

__all__ = ["home", "template"]
