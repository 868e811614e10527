"""What to do now, and why (style.md, section 3.2).

Pure. The shell saves the record BEFORE it delivers an assignment or performs an effect.
"""

from __future__ import annotations

import msgspec

from common.assignment import Assignment
from common.ids import MemberName
from common.timebase import Instant
from orchestrator.core.effects import Effect
from orchestrator.core.reasons import Because, Ranking
from orchestrator.core.record import Record


class Grant(msgspec.Struct, frozen=True, gc=False):
    """A lease that may be acknowledged to this member's beats, for this epoch alone ("Staying up" a).

    Ingress sends it only with a proof of the election sent at most V ago and checked after the beat
    arrived. It stands from the moment of the decision: one that leaves the epoch grants nothing, before
    SEALING is even sent to etcd.
    """

    member: MemberName
    epoch: int
    lease_ms: int


class Listened(msgspec.Struct, frozen=True, gc=False):
    """Whose silence the next look is about, and when it was heard."""

    member: MemberName
    heard_at: Instant


class Decision(msgspec.Struct, frozen=True, gc=False):
    reasons: tuple[Because, ...]
    """Never empty, also when nothing is done."""
    record: Record | None = None
    """None: nothing to save."""
    assignments: tuple[Assignment, ...] = ()
    """Of the record as it is saved now. When `record` is set they are empty: the turn after the save
    delivers them, because they carry its revision."""
    effects: tuple[Effect, ...] = ()
    ranking: Ranking | None = None
    grant: Grant | None = None
    again_at_us: int | None = None
    """An Instant: decide again then, if nothing happens before."""
    listened: Listened | None = None
    """With `again_at_us`: nothing but this member's silence is due then. As much later as it, and everybody else, was
    heard meanwhile, saying nothing new, the next look may come."""
