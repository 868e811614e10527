"""The next record with why, and what to tell people once it was saved.

Pure. What the phases hand to `decide.py`.
"""

from __future__ import annotations

import msgspec

from common.ids import MemberName
from orchestrator.core.effects import Effect
from orchestrator.core.reasons import Because, Ranking
from orchestrator.core.record import Record


class Move(msgspec.Struct, frozen=True, gc=False):
    reasons: tuple[Because, ...]
    record: Record | None = None
    effects: tuple[Effect, ...] = ()
    """With a record: performed after it was saved."""
    ranking: Ranking | None = None
    again_after_ms: int | None = None
    listens_to: MemberName | None = None
    """`again_after_ms` is when the silence of this one is long enough, and nothing else."""
    answered: tuple[str, ...] = ()
    """Operations that were asked for and are answered by this."""
    told: tuple[str, ...] = ()
    """Stories that this tells, so that they are told once."""
    stuck: tuple[str, ...] | None = None
    """What keeps the epoch from being left, by name; empty when nothing does any more. None: as before."""
