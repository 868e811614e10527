"""What was measured, told and probed, merged into what is reported; and how soon it is."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from agents.core.state import AgentState
from agents.core.steps import Tell
from agents.facts_keeper import FactsKeeper
from agents.link.reports import Urgency
from agents.postgres.facts import PartialFacts
from common.assignment import HistoryStep, Position, Version
from common.facts import PostgresState, Promotion, SealReport
from common.ids import ClusterName, IncarnationId, MemberName
from common.lsn import ZERO, Lsn
from common.rule import FENCE
from tests.agents.fake_instance import FakeClock

ME = IncarnationId("a" * 16)
STATE = AgentState(ClusterName("shop"), MemberName("a"), ME, obeyed=Version(3, 30))
STANDBY = PartialFacts(
    PostgresState.STANDBY,
    postmaster_alive=True,
    open=True,
    system_identifier="77",
    timeline=2,
    history=(HistoryStep(1, Lsn(100)),),
    flushed_lsn=Lsn(2000),
    replayed_lsn=Lsn(900),
    rule_in_force=FENCE,
    receiver_alive=True,
    received_age_ms=40,
    upstream="a.1@2",
    free_mib=500,
    replay_backlog_bytes=1100,
    postgres_version=150018,
    answered=True,
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
    assert (facts.postgres, facts.timeline, facts.flushed_lsn) == (PostgresState.PRIMARY, 3, Lsn(1000))
    assert (facts.system_identifier, facts.free_mib, facts.postgres_version) == ("77", 500, 150018)
    of_the_standby = (facts.open, facts.upstream, facts.history, facts.receiver_alive, facts.rule_in_force)
    assert of_the_standby == (False, "", (), False, None)
    assert urgencies == [Urgency.BEATEN]


def test_a_measurement_that_had_no_answer_does_not_make_it_a_standby_again(keeper: FactsKeeper) -> None:
    keeper.state_changed(_promoted(Lsn(1000)))
    keeper.measured(replace(STANDBY, answered=False))
    assert keeper.facts().postgres is PostgresState.PRIMARY
    keeper.measured(replace(STANDBY, answered=False, postmaster_alive=False, postgres=PostgresState.DYING))
    assert keeper.facts().postgres is PostgresState.DYING


def test_one_that_has_not_committed_yet_is_what_was_measured(keeper: FactsKeeper) -> None:
    urgencies, told = list[Urgency](), list[str]()
    keeper.listen(urgencies.append)
    keeper.on_promoted = lambda: told.append("promoted")
    keeper.state_changed(_promoted(ZERO))
    assert keeper.facts().postgres is PostgresState.STANDBY
    assert (urgencies, told) == ([Urgency.SOON], [])  # nobody waits for that
    keeper.state_changed(_promoted(Lsn(1000)))
    assert (urgencies, told) == ([Urgency.SOON, Urgency.BEATEN], ["promoted"])


def test_one_that_died_meanwhile_is_no_primary_whatever_was_stored(keeper: FactsKeeper) -> None:
    keeper.died()
    keeper.state_changed(_promoted(Lsn(1000)))
    facts = keeper.facts()
    assert (facts.postgres, facts.postmaster_alive) == (PostgresState.DYING, False)


@pytest.mark.parametrize(("at_death_mib", "told_mib"), [(0, 0), (None, 900)])
def test_a_death_is_told_with_the_room_that_the_disk_had_then(
    keeper: FactsKeeper, at_death_mib: int | None, told_mib: int
) -> None:
    """The newest measurement may be of before the disk was full."""
    keeper.measured(replace(STANDBY, free_mib=900))
    keeper.died(at_death_mib)
    assert keeper.facts().free_mib == told_mib


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


def test_the_end_that_was_measured_last_is_told_though_the_member_sealed_before_in_the_same_epoch(
    keeper: FactsKeeper,
) -> None:
    """Leave to rebuild is given for exactly that end (R7): for the seal's it was never taken (chaos, seed 941228)."""
    seal = SealReport(3, ME, 2, Lsn(900), Lsn(900))
    keeper.told(Tell(rebuild_needed="of another epoch", end_of_wal=Position(1, Lsn(800))))
    keeper.state_changed(replace(STATE, seal=seal))
    assert keeper.facts().end_of_wal == Position(2, Lsn(900))
    keeper.told(Tell(rebuild_needed="needs WAL from 0/500 on", end_of_wal=Position(3, Lsn(1280))))
    assert keeper.facts().end_of_wal == Position(3, Lsn(1280))
    keeper.state_changed(replace(STATE, seal=seal, highest_number=9))
    assert keeper.facts().end_of_wal == Position(3, Lsn(1280))
