"""What was measured, told and probed, merged into what is reported; and how soon it is."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from agents.core.state import AgentState
from agents.facts_keeper import FactsKeeper
from agents.link.reports import Urgency
from agents.postgres.facts import PartialFacts
from common.assignment import Version
from common.facts import PostgresState, Promotion, SealReport
from common.ids import ClusterName, IncarnationId, MemberName
from common.lsn import ZERO, Lsn
from tests.agents.fake_instance import FakeClock

ME = IncarnationId("a" * 16)
STATE = AgentState(ClusterName("shop"), MemberName("a"), ME, obeyed=Version(3, 30))
STANDBY = PartialFacts(
    PostgresState.STANDBY, postmaster_alive=True, timeline=2, upstream="a.1@2", answered=True
)


def _promoted(first_commit_lsn: Lsn) -> AgentState:
    return replace(STATE, promotion=Promotion(3, 3, Lsn(900), first_commit_lsn))


@pytest.fixture
def keeper() -> FactsKeeper:
    made = FactsKeeper(STATE, FakeClock())
    made.measured(STANDBY)
    return made


def test_one_that_has_committed_after_its_promotion_is_a_primary_before_it_is_measured_again(
    keeper: FactsKeeper,
) -> None:
    """The leader waits for both to be said (R5)."""
    urgencies = list[Urgency]()
    keeper.listen(urgencies.append)
    keeper.state_changed(_promoted(Lsn(1000)))
    facts = keeper.facts()
    assert (facts.postgres, facts.timeline, facts.upstream) == (PostgresState.PRIMARY, 3, "")
    assert urgencies == [Urgency.BEATEN]


def test_one_that_has_not_committed_yet_is_what_was_measured(keeper: FactsKeeper) -> None:
    keeper.state_changed(_promoted(ZERO))
    assert keeper.facts().postgres is PostgresState.STANDBY


def test_one_that_died_meanwhile_is_no_primary_whatever_was_stored(keeper: FactsKeeper) -> None:
    keeper.died()
    keeper.state_changed(_promoted(Lsn(1000)))
    facts = keeper.facts()
    assert (facts.postgres, facts.postmaster_alive) == (PostgresState.DYING, False)


def test_a_seal_is_reported_at_once_and_costs_no_beat(keeper: FactsKeeper) -> None:
    """A beat to every control node would say nothing new, and three members seal while clients wait."""
    urgencies = list[Urgency]()
    keeper.listen(urgencies.append)
    keeper.state_changed(replace(STATE, seal=SealReport(3, ME, 2, Lsn(900), Lsn(900))))
    assert urgencies == [Urgency.REPORTED]


def test_that_an_order_was_obeyed_is_told_with_what_comes_next(keeper: FactsKeeper) -> None:
    urgencies = list[Urgency]()
    keeper.listen(urgencies.append)
    keeper.state_changed(replace(STATE, obeyed=Version(3, 31)))
    assert urgencies == [Urgency.SOON]
