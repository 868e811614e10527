"""Who is adopted, and who may be rebuilt (R7, R13)."""

from __future__ import annotations

from msgspec.structs import replace

from common.assignment import Position
from common.facts import PostgresState
from common.ids import MemberName
from common.lsn import Lsn
from common.rule import SOLO
from orchestrator.core.members import adoptions, rebuilds
from orchestrator.core.record import Phase, Record
from orchestrator.core.view import ClusterView, MemberView
from tests.core.builders import any_of, heard, incarnation, record, view

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
    assert [because.member for _, because, _ in rebuilds(at, _past_the_fork("b"))] == ["b"]


def test_a_voter_is_never_rebuilt_on_purpose() -> None:
    assert not list(rebuilds(record(), _past_the_fork("b")))
