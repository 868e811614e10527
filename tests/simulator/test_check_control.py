"""The checkers of the control plane find what they are for: each is given a world in which its rule is broken."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from common.assignment import Position
from common.facts import SealReport
from common.ids import IncarnationId, MemberName
from common.lsn import Lsn
from common.rule import Voter, quorum
from orchestrator.core.names import WantedNames
from orchestrator.core.record import Phase, Prior, Record
from tests.simulator.check_choice import legal_candidate, why_forbidden
from tests.simulator.fleet import Fleet
from tests.simulator.violation import Violation

A, B, C = MemberName("a"), MemberName("b"), MemberName("c")


def _whole(seed: int = 5, controls: int = 1) -> Fleet:
    fleet = Fleet(seed, controls=controls)
    assert fleet.world.run_until(fleet.world.now_us + 40_000_000, fleet.whole)
    return fleet


def _record(fleet: Fleet) -> Record:
    record = fleet.record()
    assert record is not None
    return record


def _saved(fleet: Fleet, new: Record) -> None:
    old, fleet.etcd.record = _record(fleet), new
    fleet.control_checkers.saved(old, new)


def _sealing(record: Record) -> Record:
    """Epoch 2, from a rule that both b and c vote in."""
    rule = quorum([record.the(B).voter, record.the(C).voter], 1)
    prior = Prior(1, A, record.the(A).number, rule)
    return replace(record, epoch=2, phase=Phase.SEALING, prior=(prior,), rules=(rule,))


def _chosen(sealing: Record, candidate: MemberName, ends: dict[MemberName, int]) -> Record:
    seals = tuple(
        (name, SealReport(2, sealing.the(name).incarnation or IncarnationId(""), 1, Lsn(end), None))
        for name, end in sorted(ends.items())
    )
    return replace(sealing, phase=Phase.PROMOTING, candidate=candidate, seals=seals)


def test_r2_forbids_a_candidate_with_too_few_seals() -> None:
    sealing = _sealing(_record(_whole()))
    assert "R2" in why_forbidden(sealing, _chosen(sealing, B, {B: 1000}))
    assert why_forbidden(sealing, _chosen(sealing, B, {B: 1000, C: 900})) == ""


def test_r3_forbids_a_candidate_below_the_bound() -> None:
    sealing = _sealing(_record(_whole()))
    assert "R3" in why_forbidden(sealing, _chosen(sealing, C, {B: 1000, C: 900}))


def test_a_seal_of_the_outgoing_primary_resolves_its_prior() -> None:
    sealing = _sealing(_record(_whole()))
    assert why_forbidden(sealing, _chosen(sealing, B, {A: 1000, B: 1000})) == ""
    assert "R3" in why_forbidden(sealing, _chosen(sealing, B, {A: 1001, B: 1000}))


def test_a_recorded_bound_must_be_met() -> None:
    sealing = _sealing(_record(_whole()))
    bound = replace(sealing.prior[0], bound=Position(1, Lsn(500)))
    sealing = replace(sealing, prior=(bound,))
    assert why_forbidden(sealing, _chosen(sealing, C, {C: 500})) == ""
    assert "R3" in why_forbidden(sealing, _chosen(sealing, C, {C: 499}))


def test_a_prior_names_incarnations_not_members() -> None:
    sealing = _sealing(_record(_whole()))
    other = quorum([Voter(B, 99), Voter(C, 99)], 1)
    sealing = replace(sealing, prior=(replace(sealing.prior[0], rule=other),))
    assert "R2" in why_forbidden(sealing, _chosen(sealing, B, {B: 1000, C: 1000}))


def test_nobody_may_take_over_while_too_few_answer() -> None:
    fleet = _whole()
    fleet.lose_host("a")
    assert legal_candidate(fleet) in ("b", "c")
    fleet.lose_host("b")
    assert legal_candidate(fleet) == ""


def test_a_leader_that_refuses_for_seconds_is_found() -> None:
    """It goes on deciding, and what it decides reaches nobody."""
    fleet = _whole()
    fleet.control.dispatch.start = lambda decision: None  # type: ignore[method-assign]
    fleet.kill_postmaster("a")
    with pytest.raises(Violation, match="refused for"):
        fleet.world.run_until(fleet.world.now_us + 30_000_000)


def test_dns_may_not_go_back_once_a_change_was_confirmed() -> None:
    fleet = _whole()
    fleet.control_checkers.confirmed(7)
    with pytest.raises(Violation, match="after 7 was confirmed"):
        fleet.control_checkers.named(WantedNames("c1", "db.example.", 6, 900, ("10.0.0.2",), ()))


def test_dns_may_not_name_who_is_not_the_primary_of_that_epoch() -> None:
    fleet = _whole()
    with pytest.raises(Violation, match="whose primary is a"):
        fleet.control_checkers.named(WantedNames("c1", "db.example.", 1, 900, ("10.0.0.2",), ()))


def test_an_epoch_that_was_left_gets_no_lease_from_who_left_it() -> None:
    fleet = _whole()
    fleet.control_checkers.granted(fleet.control, 1)
    _saved(fleet, replace(_record(fleet), epoch=2, phase=Phase.SEALING))
    with pytest.raises(Violation, match="grants a lease for epoch 1"):
        fleet.control_checkers.granted(fleet.control, 1)


def test_a_lease_on_a_proof_that_is_too_old_is_found() -> None:
    fleet = _whole()
    fleet.world.now_us += 1_100_000
    with pytest.raises(Violation, match=r"^n1 grants a lease at \d+, and proved its election at \d+"):
        fleet.control_checkers.granted(fleet.control, 1)


def test_a_leader_of_before_a_restore_may_have_the_number_of_the_one_that_left_the_epoch() -> None:
    """Seed 610007: etcd counts up from its copy again; who is late may grant for as long as its proof is trusted."""
    fleet = _whole(controls=2)
    other = next(node for node in fleet.nodes if node is not fleet.control)
    _saved(fleet, replace(_record(fleet), epoch=2, phase=Phase.SEALING))
    other.term = fleet.control.term
    other.election.proof_sent_at = other.now
    fleet.control_checkers.granted(other, 1)
    fleet.world.now_us += 1_200_000
    other.election.proof_sent_at = other.now
    with pytest.raises(Violation, match="grants a lease for epoch 1"):
        fleet.control_checkers.granted(other, 1)


def test_an_epoch_that_a_restored_etcd_is_in_again_is_not_left() -> None:
    """Seeds 1370001468 and 1440001320: only the leader that left it knew, and it is dead."""
    fleet = _whole()
    before = _record(fleet)
    _saved(fleet, replace(before, epoch=2, phase=Phase.SEALING))
    fleet.etcd.record = before
    fleet.control_checkers.granted(fleet.control, 1)


def test_what_stands_in_the_record_is_not_written_again() -> None:
    fleet = _whole()
    with pytest.raises(Violation, match="written again"):
        fleet.control_checkers.saved(_record(fleet), _record(fleet))
