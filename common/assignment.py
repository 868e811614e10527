"""What one version of the record asks of a member (protocol.md, R7).

Pure. An assignment is level-triggered and idempotent, and repeated until the facts agree.
It carries (epoch, revision) of the record that it derives from and names the incarnation
that it is for; any other incarnation refuses it. The same JSON is sent and stored.
"""

from __future__ import annotations

import msgspec

from common.ids import ClusterName, IncarnationId, MemberName
from common.lsn import ZERO, Lsn
from common.rule import Rule


class Version(msgspec.Struct, frozen=True, gc=False, order=True):
    """(epoch, mod-revision of the record in etcd); compared as a pair."""

    epoch: int
    revision: int


class Position(msgspec.Struct, frozen=True, gc=False, order=True):
    """Comparable because timelines are unique (R11): the newer timeline is the higher one."""

    timeline: int
    end_lsn: Lsn

    def __str__(self) -> str:
        return f"{self.timeline}@{self.end_lsn}"


class HistoryStep(msgspec.Struct, frozen=True, gc=False):
    """A line of a timeline history file: this timeline was left at `switch_lsn`."""

    timeline: int
    switch_lsn: Lsn


class Upstream(msgspec.Struct, frozen=True, gc=False):
    member: MemberName
    host: str
    port: int


class Order(msgspec.Struct, frozen=True, gc=False, tag_field="kind"):
    """What a member is to do; one of the kinds below."""


class Wait(Order, frozen=True, tag="wait"):
    """Nothing yet: the record knows this incarnation; hold still as you are."""


class Initialise(Order, frozen=True, tag="initialise"):
    """Create the cluster in an empty data directory, leave it stopped, report its system identifier."""


class Seal(Order, frozen=True, tag="seal"):
    """Promise never again to stream from, restore from, or obey an epoch below this one (R1)."""

    drain: bool = False
    """A switchover: a primary stops cleanly, its walsenders drained, instead of at once."""


class Promote(Order, frozen=True, tag="promote"):
    """Become the primary of this epoch, on exactly this timeline (R4, R5, R11)."""

    timeline: int
    position: Position
    """The position that the bounds were met with; checked again before the promotion."""
    rule: Rule
    slots: tuple[str, ...] = ()
    """Slots of the epoch, for all members, made after the promotion (R5, R12): at once for those that commits wait for, who
    come first here."""


class Serve(Order, frozen=True, tag="serve"):
    """Be the primary of this epoch on this timeline, under this rule (R6, R8)."""

    timeline: int
    rule: Rule
    target: Rule | None = None
    """A change of rule is open: put it in force, pass the barrier, report (R6 2 to 4)."""
    slots: tuple[str, ...] = ()


class Rebuild(msgspec.Struct, frozen=True, gc=False):
    """Leave to throw WAL away: refused when the member's end is not exactly this one (R7, R9)."""

    position: Position | None
    """None: nothing is there that could be lost (an empty or half-made data directory)."""


class Follow(Order, frozen=True, tag="follow"):
    """Stream from the primary of this epoch (R9, R12)."""

    upstream: Upstream
    timeline: int
    history: tuple[HistoryStep, ...]
    """The whole history of `timeline`, lowest first; gaps in the ids are placeholders."""
    rebuild: Rebuild | None = None
    upstream_oldest_lsn: Lsn = ZERO
    """Where the upstream's WAL begins, of which the member was seen to need older: it stands still, and says where its log
    ends, for leave to be cloned (R9). ZERO: nothing is known to be missing."""
    awaited: bool = True
    """Commits wait for it: it is one of the k voters from whom they are expected first. All others leave those the first
    moment."""


AnyOrder = Wait | Initialise | Seal | Promote | Serve | Follow


class Assignment(msgspec.Struct, frozen=True, gc=False):
    cluster: ClusterName
    member: MemberName
    incarnation: IncarnationId
    number: int
    """The incarnation's number in the record: part of names and slots."""
    version: Version
    system_identifier: str
    """Empty until the cluster was initialised."""
    order: AnyOrder
    schema: int = 1
