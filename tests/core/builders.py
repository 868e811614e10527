"""Builders: a case shows only what matters to it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from msgspec.structs import replace

from common.assignment import Position, Version
from common.facts import Facts, PostgresState, SealReport
from common.ids import ClusterName, IncarnationId, MemberName
from common.lsn import Lsn
from common.profile import DEFAULT
from common.rule import Rule, Voter, quorum
from common.timebase import Instant, before_ms
from orchestrator.core.record import MemberRecord, Phase, Record
from orchestrator.core.spec import ClusterSpec, MemberSpec
from orchestrator.core.view import ClusterView, Leading, MemberView

NOW = Instant(1_000_000_000)
POLICY = DEFAULT
CLUSTER = ClusterName("c1")


def incarnation(name: str) -> IncarnationId:
    return IncarnationId(f"{ord(name[0]):016x}")


def voters(*names: str) -> tuple[Voter, ...]:
    return tuple(Voter(MemberName(n), 1) for n in names)


def any_of(k: int, *names: str) -> Rule:
    return quorum(voters(*names), k)


def member(name: str, **changes: Any) -> MemberRecord:
    plain = MemberRecord(
        MemberName(name), f"10.0.0.{ord(name) - 96}", (f"10.0.0.{ord(name) - 96}",), 5432, "", 100, False, 1,
        incarnation(name),
    )  # fmt: skip
    return replace(plain, **changes)


def record(**changes: Any) -> Record:
    """STABLE in epoch 3 on timeline 3, primary a, ANY 1 (b, c)."""
    plain = Record(
        CLUSTER,
        3,
        Phase.STABLE,
        (member("a"), member("b"), member("c")),
        primary=MemberName("a"),
        timeline=3,
        timeline_max=3,
        rules=(any_of(1, "b", "c"),),
        system_identifier="77",
    )
    return replace(plain, **changes)


def seal(name: str, end: int, *, timeline: int = 3, epoch: int = 4, **changes: Any) -> SealReport:
    return replace(SealReport(epoch, incarnation(name), timeline, Lsn(end), None), **changes)


def at(end: int, timeline: int = 3) -> Position:
    return Position(timeline, Lsn(end))


def heard(
    name: str,
    *,
    ms_ago: int = 100,
    postgres: PostgresState = PostgresState.STANDBY,
    end: int = 1000,
    **facts: Any,
) -> MemberView:
    heard_at = before_ms(NOW, ms_ago)
    said = Facts(
        CLUSTER,
        MemberName(name),
        incarnation(name),
        facts.pop("obeyed", Version(3, 10)),
        system_identifier="77",
        postgres=postgres,
        postmaster_alive=postgres in (PostgresState.STANDBY, PostgresState.PRIMARY),
        timeline=3,
        flushed_lsn=Lsn(end),
        replayed_lsn=Lsn(end),
    )
    return MemberView(MemberName(name), replace(said, **facts), heard_at, heard_at, seen_primary_epoch=3)


def view(*members: MemberView, of: Record | None = None, **changes: Any) -> ClusterView:
    known: Mapping[MemberName, MemberView] = MappingProxyType({m.name: m for m in members})
    spec = ClusterSpec(
        CLUSTER,
        "db.example.",
        tuple(MemberSpec(MemberName(n), f"host-{n}", (f"10.0.0.{ord(n) - 96}",)) for n in "abc"),
    )
    plain = ClusterView(
        known,
        spec,
        of if of is not None else record(),
        10,
        True,
        phase_since=before_ms(NOW, 60_000),
        change_since=before_ms(NOW, 60_000),
        change_revision=10,
        listening_since=before_ms(NOW, 120_000),
        leading=Leading(5, before_ms(NOW, 60_000), 7, ()),
    )
    return replace(plain, **changes)
