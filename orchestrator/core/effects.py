"""What a decision asks the shell to do, besides saving the record and delivering assignments.

Pure. An effect is a request; its outcome comes back as an event. Each is idempotent.
"""

from __future__ import annotations

from dataclasses import dataclass

from common.ids import MemberName
from common.timebase import Instant
from orchestrator.core.names import WantedNames
from orchestrator.core.reasons import Refused


@dataclass(frozen=True, slots=True)
class PublishNames:
    """→ NamesAnswered. Asked for again, with a pause, until it was confirmed."""

    wanted: WantedNames


@dataclass(frozen=True, slots=True)
class AskObservers:
    """→ ObserverAnswered or ObserverFailed, one for each other control node."""

    member: MemberName
    within_ms: int


@dataclass(frozen=True, slots=True)
class ProbeSql:
    """→ SqlProbed."""

    member: MemberName
    address: str
    port: int
    within_ms: int


@dataclass(frozen=True, slots=True)
class OutageMeasured:
    outage_ms: int
    uncertainty_ms: int


@dataclass(frozen=True, slots=True)
class Story:
    """A step of what happens, for the incident, the operation's stream, and the log.

    The shell stamps it with the wall clock, appends it to the incident of `epoch`, and sends it to
    who asked for `operation`. `final` ends the operation: succeeded, refused or failed.
    """

    epoch: int
    name: str
    """Stable: `suspected`, `confirmed`, `sealing`, `sealed`, `promoting`, `promoted`, `names`,
    `settled`, `whole`, `refused`, `no failover`, `goes on`, …"""
    text: str
    operation: str = ""
    member: MemberName | None = None
    final: str = ""
    """`succeeded`, `refused` or `failed`; empty while it goes on."""
    refused: tuple[Refused, ...] = ()
    outage: OutageMeasured | None = None
    happened_at: Instant | None = None
    """None: now. A suspicion is told when it led to something, and began before."""


@dataclass(frozen=True, slots=True)
class StandDown:
    """This leader can't be trusted with what it sees (ObserverIsolated): give up the election."""

    text: str


Effect = PublishNames | AskObservers | ProbeSql | Story | StandDown
