"""What an agent must remember over every restart; stored and fsynced before it acts (R7).

Pure: the store is `agents/epoch_store.py`.
"""

from __future__ import annotations

import msgspec

from common.assignment import Assignment, Position, Version
from common.facts import Promotion, RuleConfirmation, SealReport
from common.ids import ClusterName, IncarnationId, MemberName
from common.lsn import ZERO, Lsn
from common.rule import Rule

NOTHING_OBEYED = Version(0, 0)
NOWHERE = Position(0, ZERO)


class FlushedMark(msgspec.Struct, frozen=True):
    """The highest flush LSN that this agent reported as primary in `epoch` (R1, a primary's `flushed`)."""

    epoch: int
    flushed_lsn: Lsn


class AgentState(msgspec.Struct, frozen=True):
    cluster: ClusterName
    member: MemberName
    incarnation: IncarnationId
    system_identifier: str = ""
    obeyed: Version = NOTHING_OBEYED
    """The highest pair obeyed, by this incarnation or an older one on this host: never decreases (I9)."""
    assignment: Assignment | None = None
    """The last one accepted; only a repeat of it may start PostgreSQL as primary (R8)."""
    sealed_epoch: int = 0
    """The highest epoch that a seal was begun for: nothing of a lower one is streamed or obeyed."""
    seal: SealReport | None = None
    """The report, once the seal was finished; kept for as long as its epoch lasts."""
    promotion_told: int = 0
    """The epoch in which a promotion was ordered to PostgreSQL; it is never ordered twice in one (R4)."""
    promotion_signalled: bool = False
    """PostgreSQL was told to promote since it was last started: sealing then means stopping it (R1)."""
    promotion: Promotion | None = None
    serving_rule: Rule | None = None
    """The rule that a start as primary uses (R8), stored before it is put in force."""
    serving_epoch: int = 0
    """The epoch whose names are in that rule."""
    confirmation: RuleConfirmation | None = None
    """R6 (4), for the version that it was made under."""
    flushed_mark: FlushedMark | None = None
    sealed_at: Position = NOWHERE
    """The highest position that a seal of this incarnation reported. It was synced then (where it was damaged, once flushed),
    and what follows only adds to it: a log that ends below it has lost something, whatever PostgreSQL knows (R1)."""
    missing_below_lsn: Lsn | None = None
    """A seal of this incarnation found that WAL below this is missing, which was flushed; kept over restarts, after
    which PostgreSQL does not tell any more (R1, R13)."""
    rebuilding: str = ""
    """`clone` or `rewind` while one is under way: a member in this state can't seal (R13)."""
    destroyed: Position | None = None
    """The end that was thrown away by the last rebuild, for the account of it (R9)."""
    highest_number: int = 0
    """The highest number that the record gave an incarnation on this host: never decreases, like `obeyed` (R14)."""
    schema: int = 1


def first_state(cluster: ClusterName, member: MemberName, incarnation: IncarnationId) -> AgentState:
    """Nothing is remembered: a new incarnation, which obeys nothing until the record names it (R7).

    What a PostgreSQL that runs was told is forgotten too. A promotion may be signalled and slow: it would happen
    after the seal, on an id that the record allocated to somebody else. So the first seal or attach stops it.
    """
    return AgentState(cluster, member, incarnation, promotion_signalled=True)


def flushed_as_primary(state: AgentState) -> Lsn | None:
    """How far it had flushed, by the mark that it stored while it served its last epoch; None where it stored none."""
    mark = state.flushed_mark
    return mark.flushed_lsn if mark is not None and mark.epoch == state.serving_epoch else None
