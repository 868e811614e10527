"""What people are shown of a cluster: one value for the API, the CLI, the page and alerts.

Pure. Built by `describe.py` from the record and the view; its JSON (common.codec) is what
`primacy status --json` prints. Fields are only ever added within schema 1.
"""

from __future__ import annotations

from dataclasses import dataclass

from common.ids import ClusterName, MemberName


@dataclass(frozen=True, slots=True)
class ReasonLine:
    """A `Because`, for people."""

    reason: str
    member: str
    text: str


@dataclass(frozen=True, slots=True)
class CandidateLine:
    """What a failover now would say of this member."""

    member: MemberName
    eligible: bool
    refusal: str
    """A value of reasons.Refusal; empty when eligible."""
    text: str


@dataclass(frozen=True, slots=True)
class MemberLine:
    name: MemberName
    address: str
    port: int
    site: str
    priority: int
    nofailover: bool
    role: str
    """What it is in PostgreSQL: primary, standby, stopped, …"""
    state: str
    """What it is to Primacy: `serving`, `closed`, `superseded`, `streaming`, `voter`, `sealed`, `rebuilding`,
    `silent`, `new`, …"""
    incarnation: int
    heard_age_ms: int | None
    timeline: int
    position: str
    """Its flushed LSN, or the scanned end where it is sealed or stopped."""
    lag_bytes: int | None
    """Behind the primary's flushed LSN, as far as reported."""
    replay_backlog_bytes: int
    write_state: str
    write_age_ms: int | None
    free_mib: int | None
    postgres_version: int
    activity: str
    error: str


@dataclass(frozen=True, slots=True)
class NamesLine:
    primary: str
    """The DNS name."""
    replicas: str
    addresses: tuple[str, ...]
    """What `primary` should say."""
    confirmed: bool
    """Read back from every authoritative server, for this epoch."""
    text: str
    """What disagrees, where something does."""


@dataclass(frozen=True, slots=True)
class CanaryLine:
    """The canary of this cluster, as the leader that runs it sees it; nothing is decided by it."""

    state: str
    """`writing`, `waiting` (nothing was acknowledged for a second, or yet), or `not run`."""
    acknowledged_age_ms: int | None
    """Since its newest acknowledged write; None before the first one of this leader."""
    longest_gap_ms: int | None
    """Between two acknowledged writes, since this leader leads."""
    longest_gap_age_ms: int | None
    """Since that gap ended."""
    text: str
    """Why it does not write, where it doesn't."""


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    cluster: ClusterName
    zone: str
    leader: str
    """The control node that says so; filled in by the shell."""
    term: int
    revision: int
    epoch: int
    phase: str
    primary: str
    timeline: int
    rule: str
    """The rule in force, or both during a change: `ANY 1 (b.1, c.1) -> solo`."""
    wanted_rule: str
    settled: bool
    whole: bool
    diagnosis: str
    """`Healthy`, `PrimaryCrashed`, `QuorumAtRisk`, …"""
    reasons: tuple[ReasonLine, ...]
    members: tuple[MemberLine, ...]
    candidates: tuple[CandidateLine, ...]
    names: NamesLine | None
    profile: str
    operation: str
    """What is under way, in words; empty when nothing is."""
    canary: CanaryLine | None = None
    """None where the cluster has none; filled in by the shell."""
    schema: int = 1
