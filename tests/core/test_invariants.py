"""Each record that must never be written is caught."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from common.ids import MemberName
from common.rule import SOLO
from orchestrator.core.invariants import InvariantBroken, check
from orchestrator.core.leave import leave
from orchestrator.core.quorum import resolve_all, sealed_voters, with_bounds
from orchestrator.core.record import Operation, Phase, Record
from tests.core.builders import any_of, at, member, record, seal

_STABLE = record()
_SEALING = replace(
    leave(_STABLE, Operation("", "automatic", "PrimaryHostLost")),
    seals=((MemberName("b"), seal("b", 1000)), (MemberName("c"), seal("c", 900))),
)
_PROMOTING = replace(
    _SEALING,
    phase=Phase.PROMOTING,
    candidate=MemberName("b"),
    candidate_position=at(1000),
    timeline_max=4,
    rules=(any_of(1, "c"),),
    prior=with_bounds(resolve_all(_SEALING.prior, sealed_voters(_SEALING, dict(_SEALING.seals)))),
)
_NEXT_STABLE = replace(
    _PROMOTING,
    phase=Phase.STABLE,
    primary=MemberName("b"),
    timeline=4,
    candidate=None,
    candidate_position=None,
)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param(None, record(phase=Phase.INITIALISING, epoch=1), id="birth"),
        pytest.param(_STABLE, replace(_SEALING, seals=()), id="leave"),
        pytest.param(_SEALING, _PROMOTING, id="choose"),
        pytest.param(_PROMOTING, _NEXT_STABLE, id="promoted"),
        pytest.param(_PROMOTING, leave(_PROMOTING, Operation("", "automatic", "")), id="given_up"),
        pytest.param(_NEXT_STABLE, replace(_NEXT_STABLE, prior=()), id="settled"),
    ],
)
def test_what_a_failover_writes_is_allowed(old: Record | None, new: Record) -> None:
    check(old, new)


def _two(a: Any, b: Any, target: Any) -> dict[str, Any]:
    return {"rules": (a, b), "target": target}


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        pytest.param(None, _STABLE, "first record", id="a_cluster_is_born_initialising"),
        pytest.param(_STABLE, _PROMOTING, "no way leads", id="nobody_is_promoted_without_sealing"),
        pytest.param(_SEALING, replace(_SEALING, phase=Phase.STABLE), "no way leads", id="no_way_back"),
        pytest.param(_STABLE, replace(_STABLE, epoch=5), "epoch went", id="no_epoch_is_skipped"),
        pytest.param(_STABLE, replace(_STABLE, epoch=2), "epoch went", id="no_epoch_comes_back"),
        pytest.param(
            _STABLE, replace(_STABLE, timeline_max=2, timeline=2), "R11", id="no_timeline_comes_back"
        ),
        pytest.param(
            _STABLE, replace(_STABLE, system_identifier="78"), "identifier changed", id="identifier"
        ),
        pytest.param(_STABLE, replace(_SEALING, prior=()), "R1", id="the_outgoing_primary_is_appended"),
        pytest.param(
            _STABLE, replace(_STABLE, epoch=4), "begins with SEALING", id="a_new_epoch_begins_by_sealing"
        ),
        pytest.param(
            _STABLE,
            replace(_STABLE, members=(member("a", number=0), member("b"), member("c"))),
            "R13",
            id="no_incarnation_comes_back",
        ),
        pytest.param(
            _SEALING,
            replace(_PROMOTING, candidate=MemberName("a")),
            "not sealed",
            id="only_a_sealed_member_is_the_candidate",
        ),
        pytest.param(
            _SEALING,
            replace(_PROMOTING, candidate_position=at(999)),
            "not the sealed one",
            id="with_its_sealed_position",
        ),
        pytest.param(
            _SEALING,
            replace(_PROMOTING, candidate=MemberName("c"), candidate_position=at(900), rules=(SOLO,)),
            "below the bound",
            id="at_or_above_every_bound",
        ),
        pytest.param(
            _SEALING,
            replace(_PROMOTING, seals=_PROMOTING.seals[:1], rules=(SOLO,)),
            "not resolved",
            id="every_prior_is_resolved",
        ),
        pytest.param(
            _SEALING,
            replace(_PROMOTING, rules=(any_of(1, "a"),)),
            "R5",
            id="r_new_names_only_sealed_members",
        ),
        pytest.param(
            _PROMOTING, replace(_NEXT_STABLE, prior=()), "prior stays", id="prior_stays_until_settled"
        ),
        pytest.param(
            _PROMOTING, replace(_NEXT_STABLE, primary=MemberName("c")), "R4", id="one_candidate_in_an_epoch"
        ),
        pytest.param(
            _STABLE, replace(_STABLE, rules=(any_of(1, "b"),)), "R6", id="a_rule_never_changes_at_once"
        ),
        pytest.param(
            _STABLE,
            replace(_STABLE, **_two(any_of(1, "b", "c"), any_of(2, "a", "b", "c"), any_of(2, "a", "b", "c"))),
            "one step",
            id="a_change_is_one_step",
        ),
        pytest.param(
            replace(_STABLE, **_two(any_of(1, "b", "c"), any_of(1, "b"), any_of(1, "b"))),
            replace(_STABLE, rules=(any_of(1, "b", "c"),)),
            "ends with its target",
            id="a_change_is_never_dropped",
        ),
    ],
)
def test_a_record_that_must_never_be_written_is_caught(old: Record | None, new: Record, says: str) -> None:
    with pytest.raises(InvariantBroken, match=says):
        check(old, new)
