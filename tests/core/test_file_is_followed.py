"""The operator's file is followed in every phase: what it forbids can be allowed again while nobody may take over."""

from __future__ import annotations

import dataclasses

import pytest
from msgspec.structs import replace

from common.assignment import Version
from common.facts import PostgresState
from common.ids import MemberName
from orchestrator.core.decide import decide
from orchestrator.core.effects import Story
from orchestrator.core.priors import on_leaving
from orchestrator.core.reasons import Reason
from orchestrator.core.record import Phase, Record
from orchestrator.core.spec import MemberSpec
from orchestrator.core.view import ClusterView
from tests.core.builders import NOW, at, heard, member, record, seal, view

_FORBIDDEN = (member("a"), member("b", nofailover=True), member("c", nofailover=True))
_SEALS = tuple((MemberName(name), seal(name, 1000)) for name in "bc")
_SEALING = record(epoch=4, phase=Phase.SEALING, prior=on_leaving(record()), members=_FORBIDDEN, seals=_SEALS)
_PROMOTING = replace(
    _SEALING, phase=Phase.PROMOTING, candidate=MemberName("b"), candidate_position=at(1000), timeline_max=4
)


def _nobody_may(of: Record) -> ClusterView:
    """a is lost; b and c answer, and are sealed where that was asked of them."""
    gone = heard("a", ms_ago=9_000, postgres=PostgresState.PRIMARY)
    others = [
        heard(name, seal=dict(of.seals).get(MemberName(name)), obeyed=Version(of.epoch, 11)) for name in "bc"
    ]
    return view(gone, *others, of=of, revision=11)


@pytest.mark.parametrize(
    "of",
    [
        pytest.param(record(members=_FORBIDDEN), id="stable_and_the_primary_lost"),
        pytest.param(_SEALING, id="sealing"),
        pytest.param(_PROMOTING, id="promoting"),
    ],
)
def test_whom_the_file_allows_again_may_take_over(of: Record) -> None:
    move = decide(_nobody_may(of), NOW)
    assert move.record is not None
    assert move.record == replace(of, members=(member("a"), member("b"), member("c")))
    assert move.reasons[-1].reason is Reason.MEMBERSHIP_CHANGED
    assert [e.text for e in move.effects if isinstance(e, Story) and e.name == "membership"] == [
        "b changed, c changed"
    ]


def test_then_one_of_them_is_chosen() -> None:
    seen = _nobody_may(_SEALING)
    allowed = decide(seen, NOW).record
    assert allowed is not None
    chosen = decide(replace(seen, record=allowed), NOW).record
    assert chosen is not None
    assert (chosen.phase, chosen.candidate) == (Phase.PROMOTING, "b")


@pytest.mark.parametrize("of", [_SEALING, _PROMOTING], ids=lambda of: of.phase)
def test_who_joins_or_leaves_waits_until_the_cluster_is_stable(of: Record) -> None:
    """A member that left could be the candidate, or have the only seal."""
    seen = _nobody_may(replace(of, members=(member("a"), member("b"), member("c"))))
    assert seen.spec is not None
    joined = MemberSpec(MemberName("d"), "host-d", ("10.0.0.4",))
    spec = dataclasses.replace(seen.spec, members=(*seen.spec.members[:2], joined))
    move = decide(replace(seen, spec=spec), NOW)
    assert move.record is None or [m.name for m in move.record.members] == ["a", "b", "c"]
