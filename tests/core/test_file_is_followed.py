"""Every choice is made by what the operator's file says now, in every phase, whatever the record says still."""

from __future__ import annotations

import dataclasses

import pytest
from msgspec.structs import replace

from common.assignment import Version
from common.facts import Peer, PostgresState
from common.ids import MemberName
from common.lsn import Lsn
from common.timebase import before_ms
from orchestrator.core.decide import decide
from orchestrator.core.describe import describe
from orchestrator.core.events import FailoverAsked
from orchestrator.core.members import as_the_file_says
from orchestrator.core.move import Move
from orchestrator.core.priors import on_leaving
from orchestrator.core.reasons import Reason
from orchestrator.core.record import MemberRecord, Phase, Record
from orchestrator.core.spec import MemberSpec
from orchestrator.core.view import ClusterView
from tests.core.builders import CLUSTER, NOW, any_of, at, heard, member, record, seal, view

_ALLOWED = (member("a"), member("b"), member("c"))
_FORBIDDEN = (member("a"), member("b", nofailover=True), member("c", nofailover=True))
_SEALING = record(
    epoch=4,
    phase=Phase.SEALING,
    prior=on_leaving(record()),
    seals=tuple((MemberName(name), seal(name, 1000)) for name in "bc"),
)
_PROMOTING = replace(
    _SEALING,
    phase=Phase.PROMOTING,
    candidate=MemberName("b"),
    candidate_position=at(1000),
    timeline_max=4,
    rules=(any_of(1, "c"),),
)


def _by(members: tuple[MemberRecord, ...], of: Record, *, since_ms: int = 100) -> ClusterView:
    """What the file says of b and c, beside what the record says; a is lost, they answer."""
    gone = heard("a", ms_ago=9_000, postgres=PostgresState.PRIMARY)
    others = [
        heard(name, seal=dict(of.seals).get(MemberName(name)), obeyed=Version(of.epoch, 11)) for name in "bc"
    ]
    seen = view(gone, *others, of=of, revision=11, phase_since=before_ms(NOW, since_ms))
    assert seen.spec is not None
    said = tuple(
        dataclasses.replace(wanted, nofailover=members["abc".index(wanted.name)].nofailover)
        for wanted in seen.spec.members
    )
    return replace(seen, spec=dataclasses.replace(seen.spec, members=said))


def _reasons(move: Move) -> list[Reason]:
    return [because.reason for because in move.reasons]


def test_sealing_chooses_whom_the_file_allows_again() -> None:
    move = decide(_by(_ALLOWED, replace(_SEALING, members=_FORBIDDEN)), NOW)
    assert move.record is not None
    assert (move.record.phase, move.record.candidate) == (Phase.PROMOTING, "b")
    assert move.record.members == _ALLOWED, "what the choice was made by is saved with it"


def test_sealing_chooses_nobody_whom_the_file_forbids_by_now() -> None:
    move = decide(_by(_FORBIDDEN, _SEALING), NOW)
    assert (move.record, _reasons(move)) == (None, [Reason.NO_CANDIDATE_MEETS_THE_BOUNDS])


def _failing(of: Record) -> Record:
    """Of the candidate of this, nothing is to be hoped."""
    return replace(of, candidate=MemberName("a"), rules=(any_of(1, "b"),))


def test_a_candidate_is_given_up_for_one_that_the_file_allows_again() -> None:
    of = _failing(replace(_PROMOTING, members=_FORBIDDEN))
    move = decide(_by(_ALLOWED, of, since_ms=9_000), NOW)
    assert move.record is not None
    assert (move.record.epoch, move.record.phase, move.record.members) == (5, Phase.SEALING, _ALLOWED)
    kept = decide(_by(_FORBIDDEN, of, since_ms=9_000), NOW)
    assert (kept.record, kept.reasons[-1].reason) == (None, Reason.CANDIDATE_OUT_OF_REACH)


def test_nothing_is_saved_for_the_file_alone_while_a_candidate_is_promoted() -> None:
    """Each version of the record makes it begin anew, and what it may do already is done."""
    move = decide(_by(_FORBIDDEN, _PROMOTING), NOW)
    assert (move.record, _reasons(move)) == (None, [Reason.PROMOTION_AWAITED])


@pytest.mark.parametrize("how", ["by_itself", "by_order"])
def test_the_epoch_is_left_for_one_that_the_file_allows_again(how: str) -> None:
    asked = () if how == "by_itself" else (FailoverAsked(NOW, "op1", "ann", force=False),)
    allowed = replace(_by(_ALLOWED, record(members=_FORBIDDEN)), asked=asked)
    if how == "by_itself":  # two spoke against the primary
        allowed = replace(
            allowed, members={**allowed.members, MemberName("a"): heard("a", postgres=PostgresState.STOPPED)}
        )
    move = decide(allowed, NOW)
    assert move.record is not None
    assert (move.record.epoch, move.record.phase, move.record.members) == (4, Phase.SEALING, _ALLOWED)


def test_the_epoch_is_not_left_where_the_file_forbids_everybody_by_now() -> None:
    seen = _by(_FORBIDDEN, record())
    crashed = {**seen.members, MemberName("a"): heard("a", postgres=PostgresState.STOPPED)}
    move = decide(replace(seen, members=crashed), NOW)
    assert (move.record, move.reasons[-1].reason) == (None, Reason.CANDIDATE_OUT_OF_REACH)
    assert [c.eligible for c in describe(CLUSTER, seen, NOW).candidates] == [False, False, False]


def test_a_rule_change_that_never_ends_is_left_for_one_that_the_file_allows_again() -> None:
    """b.1 lost what it had, and both rules name it."""
    again = (member("a"), member("b", number=2, nofailover=True), member("c", nofailover=True))
    of = record(members=again, rules=(any_of(2, "b", "c"), any_of(1, "b")), target=any_of(1, "b"))
    peers = (Peer("c.1@3", "streaming", Lsn(1000)),)
    primary = heard("a", postgres=PostgresState.PRIMARY, peers=peers)
    for said, leaves in ((_ALLOWED, True), (_FORBIDDEN, False)):
        seen = _by(said, of)
        move = decide(replace(seen, members={**seen.members, MemberName("a"): primary}), NOW)
        assert (move.record is not None and move.record.epoch == 4) == leaves, move.reasons


def test_who_joins_or_leaves_waits_until_the_cluster_is_stable() -> None:
    """One that left could be the candidate, or have the only seal."""
    seen = _by(_ALLOWED, _SEALING)
    assert seen.spec is not None
    joined = MemberSpec(MemberName("d"), "host-d", ("10.0.0.4",))
    other = dataclasses.replace(seen.spec, members=(seen.spec.members[0], joined))
    leaving = replace(_SEALING, members=(member("a"), member("b", nofailover=True), member("c")))
    assert as_the_file_says(leaving, other) == leaving, "who leaves keeps its mark"
    moved = dataclasses.replace(
        seen.spec.members[1], addresses=("10.9.9.9",), priority=200, site="west", nofailover=True
    )
    spec = dataclasses.replace(seen.spec, members=(moved, joined))
    [a, b, c] = as_the_file_says(_SEALING, spec).members
    assert (a, c) == (member("a"), member("c"))
    assert (b.addresses, b.priority, b.site, b.nofailover) == (("10.9.9.9",), 200, "west", True)
    assert (b.number, b.incarnation) == (member("b").number, member("b").incarnation)
