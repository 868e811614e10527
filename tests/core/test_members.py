"""Who is adopted, and who may be rebuilt (R7, R13)."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from common.assignment import Follow, HistoryStep, Position, Version
from common.facts import PostgresState
from common.ids import MemberName
from common.lsn import Lsn
from common.rule import SOLO
from orchestrator.core.assign import assignments
from orchestrator.core.leave import leave
from orchestrator.core.members import adoptions, rebuilds
from orchestrator.core.record import Operation, Phase, Record
from orchestrator.core.view import ClusterView, MemberView
from tests.core.builders import NOW, any_of, heard, incarnation, record, view

_ANOTHER = incarnation("z")


def _adopted(at: Record, *members: MemberView) -> list[MemberName]:
    return [because.member for _, because, _ in adoptions(at, view(*members)) if because.member is not None]


def _as_another(name: str, postgres: PostgresState) -> MemberView:
    seen = heard(name, postgres=postgres)
    assert seen.facts is not None
    return replace(seen, facts=replace(seen.facts, incarnation=_ANOTHER))


def test_a_standby_that_speaks_as_another_incarnation_is_adopted() -> None:
    assert _adopted(record(), _as_another("b", PostgresState.STOPPED)) == ["b"]


def test_a_primary_that_runs_is_adopted() -> None:
    """Its agent forgot, and its PostgreSQL has everything."""
    assert _adopted(record(), _as_another("a", PostgresState.PRIMARY)) == ["a"]


def test_a_primary_that_is_down_is_not_given_a_number_that_the_next_prior_would_name() -> None:
    """It may miss what it acknowledged, and nobody knows any more (a-damaged-primary-starts-again.md)."""
    assert _adopted(record(), _as_another("a", PostgresState.STOPPED)) == []


def test_it_is_adopted_once_the_epoch_is_left() -> None:
    sealing = record(phase=Phase.SEALING)
    assert _adopted(sealing, _as_another("a", PostgresState.STOPPED)) == ["a"]


def test_nobody_but_itself_could_go_on_after_a_solo_primary() -> None:
    assert _adopted(record(rules=(SOLO,)), _as_another("a", PostgresState.STOPPED)) == ["a"]


def _past_the_fork(name: str) -> ClusterView:
    return view(
        heard("a", postgres=PostgresState.PRIMARY),
        heard(
            name,
            postgres=PostgresState.STOPPED,
            rebuild_needed="ends past the fork",
            end_of_wal=Position(2, Lsn(5_000)),
        ),
    )


def test_a_member_that_no_rule_names_may_be_rebuilt() -> None:
    at = record(rules=(any_of(1, "c"),))
    assert [because.member for _, because, _ in rebuilds(at, _past_the_fork("b"), NOW)] == ["b"]


def test_a_voter_is_never_rebuilt_on_purpose() -> None:
    assert not list(rebuilds(record(), _past_the_fork("b"), NOW))


def _behind_the_wal(
    end: int, oldest: int, *, primary: dict[str, Any] | None = None, **facts: Any
) -> ClusterView:
    """The primary a has WAL from `oldest` on, the standby b ends at `end`."""
    told: dict[str, Any] = {"oldest_lsn": Lsn(oldest), **(primary or {})}
    return view(heard("a", postgres=PostgresState.PRIMARY, end=9_000, **told), heard("b", end=end, **facts))


def _standing_still(end: int) -> ClusterView:
    return view(
        heard("a", postgres=PostgresState.PRIMARY, end=9_000, oldest_lsn=Lsn(2_000)),
        heard(
            "b", postgres=PostgresState.STOPPED, rebuild_needed="needs WAL", end_of_wal=Position(3, Lsn(end))
        ),
    )


_UNNAMED = record(rules=(any_of(1, "c"),))
_ASKED = _UNNAMED.with_member(replace(_UNNAMED.the(MemberName("b")), upstream_oldest_lsn=Lsn(2_000)))


def test_a_standby_whose_wal_the_primary_has_no_more_is_asked_where_it_ends() -> None:
    """It fits, and asks for ever for a segment that was removed."""
    ((changed, because, story),) = rebuilds(_UNNAMED, _behind_the_wal(1_000, 2_000), NOW)
    assert changed == _ASKED
    assert because.text == "b is to say where it ends: a has WAL from 0/7D0 on"
    assert story is None, "nothing is thrown away yet"
    assert not list(rebuilds(changed, _behind_the_wal(1_000, 3_000), NOW)), "it was asked already"
    assert list(rebuilds(changed, _behind_the_wal(2_500, 3_000), NOW)), (
        "it had gone on since, and is left behind again"
    )


def test_it_is_asked_although_its_timeline_is_not_known_yet() -> None:
    """After a crash the control file names one before its own, of which it would be past the fork (lab: asked in vain)."""
    at = replace(_UNNAMED, history=(HistoryStep(2, Lsn(500)),))
    assert list(rebuilds(at, _behind_the_wal(1_000, 2_000, timeline=2), NOW))


def test_it_is_cloned_once_it_stands_still_and_its_end_is_below_that_wal() -> None:
    ((changed, _, story),) = rebuilds(_ASKED, _standing_still(1_000), NOW)
    assert changed.the(MemberName("b")).rebuild == Position(3, Lsn(1_000))
    assert story is not None
    assert (story.name, story.text) == ("rebuilding", "b is cloned: needs WAL")
    assert not list(rebuilds(changed, _standing_still(1_000), NOW))
    assert not list(rebuilds(_ASKED, _standing_still(2_000), NOW)), "it has what it needs"
    assert not list(rebuilds(_UNNAMED, _standing_still(1_000), NOW)), "nobody asked"


@pytest.mark.parametrize(
    ("at", "seen"),
    [
        pytest.param(record(), _behind_the_wal(1_000, 2_000), id="a_rule_names_it"),
        pytest.param(None, _behind_the_wal(2_000, 2_000), id="it_needs_the_first_segment_that_is_there"),
        pytest.param(None, _behind_the_wal(1_000, 0), id="what_the_primary_has_is_not_known"),
        pytest.param(None, _behind_the_wal(1_000, 2_000, receiver_alive=True), id="it_streams"),
        pytest.param(
            None, _behind_the_wal(1_000, 2_000, replay_paused=True), id="a_person_has_paused_its_replay"
        ),
        pytest.param(
            None,
            _behind_the_wal(1_000, 2_000, postgres=PostgresState.STARTING),
            id="it_starts_and_has_not_replayed",
        ),
        pytest.param(
            None, _behind_the_wal(1_000, 2_000, flushed_lsn=Lsn(0)), id="it_replays_what_it_has_itself"
        ),
        pytest.param(
            None, _behind_the_wal(1_000, 2_000, obeyed=Version(2, 9)), id="it_speaks_of_an_epoch_before"
        ),
        pytest.param(
            None,
            _behind_the_wal(1_000, 2_000, primary={"obeyed": Version(2, 9)}),
            id="the_primary_speaks_of_an_epoch_before",
        ),
        pytest.param(
            None,
            _behind_the_wal(1_000, 2_000, primary={"incarnation": _ANOTHER}),
            id="the_primary_is_another_by_now",
        ),
        pytest.param(
            None, _behind_the_wal(1_000, 2_000, primary={"ms_ago": 3_100}), id="the_primary_is_silent"
        ),
        pytest.param(None, _behind_the_wal(1_000, 2_000, ms_ago=3_100), id="it_is_silent"),
        pytest.param(
            record(rules=(any_of(1, "c"),), phase=Phase.SEALING),
            _behind_the_wal(1_000, 2_000),
            id="a_failover_is_on",
        ),
    ],
)
def test_nobody_is_asked_for_want_of_wal(at: Record | None, seen: ClusterView) -> None:
    assert not list(rebuilds(at or _UNNAMED, seen, NOW))


@pytest.mark.parametrize(("ms_ago", "asked"), [(100, []), (3_100, ["c"])])
def test_one_is_cloned_after_the_other(ms_ago: int, asked: list[str]) -> None:
    """What they have are whole copies, until they are emptied; but one that is away is not waited for."""
    at = replace(_ASKED, rules=(SOLO,))
    seen = view(
        heard("a", postgres=PostgresState.PRIMARY, end=9_000, oldest_lsn=Lsn(2_000)),
        heard("b", end=1_000, ms_ago=ms_ago),
        heard("c", end=1_000),
    )
    assert [because.member for _, because, _ in rebuilds(at, seen, NOW)] == asked


def test_nobody_is_asked_where_it_ends_while_a_rule_names_it() -> None:
    """It was seen before the rule named it (R13)."""
    orders = {}
    for voters in ("c", "bc"):
        at = replace(_ASKED, rules=(any_of(1, *voters),))
        orders[voters] = next(one.order for one in assignments(at, 11) if one.member == "b")
    assert isinstance(orders["c"], Follow)
    assert isinstance(orders["bc"], Follow)
    assert (orders["c"].upstream_oldest_lsn, orders["bc"].upstream_oldest_lsn) == (2_000, 0)


def test_what_one_primary_has_removed_is_forgotten_with_its_epoch() -> None:
    """The next one may have it, and its positions mean something else."""
    assert leave(_ASKED, Operation("", "automatic", "")).the(MemberName("b")).upstream_oldest_lsn == 0


def test_a_clone_that_is_adopted_needs_no_older_wal_any_more() -> None:
    ((adopted, _, _),) = adoptions(_ASKED, view(_as_another("b", PostgresState.STOPPED)))
    assert adopted.the(MemberName("b")).upstream_oldest_lsn == 0
