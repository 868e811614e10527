"""What the shell needs from the world: a Protocol for each adapter, and the values they exchange.

A port belongs here when the shell or the composition root calls it. No adapter's type, no driver's
exception and no decision lives here. Errors are those of `common.errors`; a port's own kinds derive
from them, so that a caller who knows only the five roots still does the right thing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import Enum
from typing import NewType, Protocol

from common.errors import Refused
from common.ids import ClusterName
from common.timebase import Instant
from orchestrator.core.names import Published, ServerAnswer, WantedNames

# ---- etcd -------------------------------------------------------------------------------------------

BODY_BYTES_MAX = 64 * 1024
"""The largest record, specification or note that is stored; larger ones are refused before they are sent."""

NOTES_KEPT = 200
"""How many notes of a shelf are kept for each cluster."""

Shard = NewType("Shard", str)


class ClusterIdChanged(Refused):
    """The etcd that answers is not the etcd that answered before (restored, rebuilt, a wrong address).

    Nothing remembered of the old one holds: revisions, terms, records (R14).
    """

    def __init__(self, *, known: int, answered: int) -> None:
        self.known, self.answered = known, answered
        super().__init__(f"etcd's cluster id was {known:x}, now {answered:x} answers")


class Conflict(Refused):
    """Somebody else changed the key since it was read. Read again, then decide again."""

    def __init__(self, key: str, *, expected: int, found: int) -> None:
        self.key, self.expected, self.found = key, expected, found
        super().__init__(f"{key}: expected mod revision {expected}, found {found}")


@dataclass(frozen=True, slots=True)
class Term:
    """A won election. Later terms have higher numbers, across all control nodes of a shard."""

    create_revision: int
    """The term's number: the create revision of the election key. Every write of the term compares it."""
    key: str
    lease_id: int
    """Compared as well: an etcd that was restored from a copy counts up again, and may give a number twice."""


@dataclass(frozen=True, slots=True)
class Leader:
    """Who holds the election, by its own account in the election key."""

    name: str
    address: str
    since_wall_ms: int
    term: int
    """The create revision of the key."""


@dataclass(frozen=True, slots=True)
class Leadership:
    """`term` is ours, or None while we don't lead. `leader` is the newest known, maybe ourselves."""

    term: Term | None
    leader: Leader | None


class Election(Protocol):
    """The election of one shard, as this control node takes part in it."""

    async def run(self) -> None:
        """Take part until `resign`. Raise ClusterIdChanged; etcd's absence is waited out, not raised.

        Cancelling it is a crash as far as the others can see: they wait for the lease to run out.
        """
        ...

    @property
    def term(self) -> Term | None:
        """Ours while we lead *and* our own clock says that the lease still holds; asked anew at each call."""
        ...

    @property
    def proof_sent_at(self) -> Instant | None:
        """When the newest proof of the present term was sent; None without a term."""
        ...

    async def prove(self) -> Instant:
        """Ask etcd whether the election key is still ours; return when the question was sent.

        Raise LostLeadership when it is not; NotDelivered when nobody answered in time.
        """
        ...

    @property
    def current_leader(self) -> Leader | None:
        """The newest that the watch has seen; may be stale while etcd is away."""
        ...

    async def leader(self) -> Leader | None:
        """Asked of etcd now (linearizable)."""
        ...

    def changes(self) -> AsyncIterator[Leadership]:
        """The present state at once, then each change; a slow reader gets the newest and skips the rest."""
        ...

    async def resign(self) -> None:
        """Stop leading at once, free the key so that another may lead within milliseconds, end `run`.

        Does nothing while `run` is not running; it may be run again afterwards.
        """
        ...


@dataclass(frozen=True, slots=True)
class StoredRecord:
    body: bytes
    mod_revision: int


class RecordStore(Protocol):
    """The record of each cluster. Only the leader writes it, and only by compare-and-swap under its term."""

    @property
    def etcd_cluster_id(self) -> int | None:
        """Of the etcd that answers; None before its first answer (R14)."""
        ...

    async def load(self, cluster: str) -> StoredRecord | None:
        """Linearizable. Raise NotDelivered when nobody answered in time."""
        ...

    async def save(self, cluster: str, body: bytes, expected_mod_revision: int, term: Term) -> int:
        """Store `body` where the mod revision is as expected (0: absent) and the term is still ours.

        Return the new mod revision. Raise LostLeadership; Conflict; Refused (too large, or etcd said no);
        NotDelivered (surely not stored); OutcomeUnknown (may have been stored, or may still be: load before
        anything else).
        """
        ...


@dataclass(frozen=True, slots=True)
class StoredSpec:
    cluster: str
    body: bytes
    mod_revision: int


class SpecStore(Protocol):
    """What people asked for, one specification a cluster. Written by people, read by the leader."""

    async def load(self, cluster: str) -> StoredSpec | None: ...

    async def save(self, cluster: str, body: bytes, expected_mod_revision: int) -> int:
        """Compare-and-swap on what the person has read (0: no such cluster yet); as RecordStore.save."""
        ...

    async def load_all(self) -> Mapping[str, StoredSpec]: ...

    def feed(self) -> AbstractAsyncContextManager[AsyncIterator[Mapping[str, StoredSpec]]]:
        """All specifications at once, and again after each change. It lists anew after any gap, by itself."""
        ...


class Shelf(Enum):
    """Where notes are kept, below the cluster's prefix."""

    OPERATIONS = "operations"
    INCIDENTS = "incidents"
    EPOCHS = "history"


@dataclass(frozen=True, slots=True)
class Note:
    id: str
    body: bytes
    mod_revision: int


class HistoryStore(Protocol):
    """Accounts for people. Nothing decides by them."""

    async def put(self, shelf: Shelf, cluster: str, note_id: str, body: bytes, term: Term) -> int:
        """Write or overwrite one note under the term. Raise as RecordStore.save, but never Conflict."""
        ...

    async def get(self, shelf: Shelf, cluster: str, note_id: str) -> Note | None: ...

    async def newest(self, shelf: Shelf, cluster: str, count: int) -> Sequence[Note]:
        """At most `count`, the one that was begun last first."""
        ...

    async def prune(self, shelf: Shelf, cluster: str, term: Term, keep: int = NOTES_KEPT) -> int:
        """Remove some of the oldest beyond `keep`, a bounded number a call; return how many went."""
        ...


@dataclass(frozen=True, slots=True)
class ControlNode:
    name: str
    address: str
    since_wall_ms: int


class ControlNodes(Protocol):
    """Who is there: each control node keeps a key under a lease of its own."""

    async def run(self) -> None:
        """Keep our own entry until cancelled."""
        ...

    async def present(self) -> Sequence[ControlNode]: ...


# ---- DNS --------------------------------------------------------------------------------------------


class NameService(Protocol):
    """The two DNS names of every cluster of one zone; real name servers, or our own answerer."""

    async def publish(self, wanted: WantedNames) -> Published:
        """Make both names say what is wanted, all at once, unless a newer version stands there.

        Repeating it is harmless. Raise NotDelivered (surely not written; trying again is safe),
        OutcomeUnknown (it may have been written: read back, or publish again), Refused (wrong key,
        not authorised, not its zone: a person must look).
        """
        ...

    async def read_back(self, cluster: str) -> tuple[ServerAnswer, ...]:
        """What every authoritative server says now, troubles included; never raises for a server's sake.

        Compare it with `orchestrator.core.names.disagreements`.
        """
        ...


# ---- the canary -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CanaryTarget:
    """Whom the canary of a cluster writes to: a name, and what it can't know from DNS."""

    cluster: ClusterName
    name: str
    zone: str
    default_port: int
    ports: Mapping[str, int]
    """By address, where a member has a port of its own."""


class CanaryEar(Protocol):
    """Who hears what became of the canary's writes. It neither waits nor raises."""

    def acknowledged(self, at: Instant, begun_at: Instant, stalled_us: int) -> None:
        """The only outcome that counts as one: no warning, on a connection through the name. `stalled_us`: how long
        the writer's process did not run, in all."""
        ...

    def failed(self, what: str, outcome: str, turned_away_at: Instant, text: str, stalled_us: int) -> None:
        """`what`: connect or write; `outcome`: failed, refused, unknown or moved. Nobody was served at that moment:
        a refusal came then, or what was begun then was not answered in time."""
        ...


class CanaryWriter(Protocol):
    async def run(self, target: CanaryTarget, ear: CanaryEar) -> None:
        """Write, until cancelled."""
        ...
