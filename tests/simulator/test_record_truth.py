"""What RecordTruth finds in a record that breaks R1 to R7, R11 or R13: real changes, bent before they are shown to it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from common.assignment import Position, Version
from common.lsn import Lsn
from common.rule import SOLO, Rule, RuleKind, Voter, quorum
from orchestrator.core.leave import leave
from orchestrator.core.record import Operation, Phase, Record
from tests.simulator.broken import (
    SECOND_US,
    A,
    B,
    C,
    bend_saves,
    isolate,
    record_of,
    rows,
    run,
    until,
    whole_fleet,
)
from tests.simulator.violation import Violation

Bend = Callable[[Record, Record], Record]
_OPERATION = Operation("op1", "automatic", "PrimaryCrashed")


def _into(phase: Phase, change: Callable[[Record], Record]) -> Bend:
    def bend(old: Record, new: Record) -> Record:
        return change(new) if new.phase is phase and old.phase is not phase else new

    return bend


def _failover_that_breaks(bend: Bend, says: str, *, members: int = 3) -> None:
    fleet = whole_fleet(members=members)
    rows(fleet)
    bend_saves(fleet, bend)
    fleet.kill_postmaster("a")
    with pytest.raises(Violation, match=says):
        run(fleet, 20 * SECOND_US)


def _change_that_breaks(bend: Bend, says: str) -> None:
    """A voter is lost for good: the rule goes on without it."""
    fleet = whole_fleet()
    bend_saves(fleet, bend)
    fleet.lose_host("c")
    with pytest.raises(Violation, match=says):
        run(fleet, 20 * SECOND_US)


def test_an_epoch_that_is_skipped_is_found() -> None:
    _failover_that_breaks(
        _into(Phase.SEALING, lambda new: replace(new, epoch=new.epoch + 1)),
        r"^R1: STABLE of epoch 1 is left for epoch 3",
    )


def test_an_outgoing_primary_that_no_prior_names_is_found() -> None:
    _failover_that_breaks(
        _into(Phase.SEALING, lambda new: replace(new, prior=())),
        r"^R1: a may have acknowledged under ANY 1 \(.*\) in epoch 1, and no prior says so",
    )


def test_a_prior_that_is_dropped_on_leaving_is_found() -> None:
    fleet = whole_fleet()
    fleet.kill_postmaster("a")
    until(fleet, lambda: record_of(fleet).phase is Phase.PROMOTING)
    old = record_of(fleet)
    assert old.prior
    with pytest.raises(Violation, match=r"R4: Prior\(epoch=1.*was dropped"):
        fleet.truth.saved(old, replace(leave(old, _OPERATION), prior=leave(old, _OPERATION).prior[-1:]))


def test_an_epoch_that_is_left_while_too_few_answer_is_found() -> None:
    fleet = whole_fleet(members=4)
    old = record_of(fleet)
    assert old.rule.k == 1
    for name in ("a", "b", "c"):
        fleet.lose_host(name)
    run(fleet, 10 * SECOND_US)
    assert record_of(fleet).epoch == 1
    fleet.control.decided_us = fleet.world.now_us
    with pytest.raises(Violation, match=r"^R1: epoch 1 is left, and nobody who answers can resolve"):
        fleet.truth.saved(old, leave(old, _OPERATION))


def test_an_epoch_that_is_left_while_no_candidate_answers_is_found() -> None:
    fleet = whole_fleet()
    old = record_of(fleet)
    for name in ("b", "c"):
        fleet.lose_host(name)
    run(fleet, 5 * SECOND_US // 2)
    fleet.control.decided_us = fleet.world.now_us
    with pytest.raises(Violation, match=r"^R1: epoch 1 is left, and nobody who answers can be the candidate"):
        fleet.truth.saved(old, leave(old, _OPERATION))


def test_a_candidate_with_a_prior_that_is_not_resolved_is_found() -> None:
    def only_one_seal(new: Record) -> Record:
        return replace(new, seals=tuple((n, s) for n, s in new.seals if n == new.candidate))

    _failover_that_breaks(_into(Phase.PROMOTING, only_one_seal), r"R2: Prior\(.*is not resolved", members=4)


def test_a_bound_that_is_not_the_lowest_of_its_ways_is_found() -> None:
    def lowered(new: Record) -> Record:
        return replace(new, prior=tuple(replace(p, bound=Position(1, Lsn(128))) for p in new.prior))

    _failover_that_breaks(_into(Phase.PROMOTING, lowered), r"R3: Prior\(.*is written with .*, its bound is")


def test_a_candidate_below_the_bound_is_found() -> None:
    def behind(new: Record) -> Record:
        seals = tuple(
            (n, replace(s, end_lsn=Lsn(s.end_lsn - 128)) if n == new.candidate else s) for n, s in new.seals
        )
        return replace(new, seals=seals)

    says = r"R3: [bc] is not sealed, whole and at or above"
    _failover_that_breaks(_into(Phase.PROMOTING, behind), says)


def test_a_sealed_member_whose_log_moved_is_found() -> None:
    fleet = whole_fleet()
    rows(fleet)

    def moved(old: Record, new: Record) -> Record:
        if new.phase is Phase.PROMOTING and old.phase is Phase.SEALING:
            for name, _ in new.seals:
                if name != new.candidate:
                    fleet.postgres[name].append(0)
                    return new
        return new

    bend_saves(fleet, moved)
    fleet.kill_postmaster("a")
    with pytest.raises(Violation, match=r"^R1: [abc] is sealed at .*, and its log ends at"):
        run(fleet, 20 * SECOND_US)


def test_a_timeline_that_is_allocated_twice_is_found() -> None:
    _failover_that_breaks(
        _into(Phase.PROMOTING, lambda new: replace(new, timeline_max=1)),
        r"R11: timeline 1 was allocated before",
    )


def test_a_second_candidate_of_an_epoch_is_found() -> None:
    fleet = whole_fleet()
    changes: list[tuple[Record, Record]] = []

    def keep(old: Record, new: Record) -> Record:
        changes.append((old, new))
        return new

    bend_saves(fleet, keep)
    fleet.kill_postmaster("a")
    until(fleet, lambda: record_of(fleet).phase is Phase.PROMOTING)
    with pytest.raises(Violation, match=r"^R4: [bc] was the candidate of epoch 2 already"):
        fleet.truth.saved(*changes[-1])


def test_a_rule_of_the_new_epoch_that_names_who_can_t_attach_is_found() -> None:
    def foreign(new: Record) -> Record:
        return replace(new, rules=(quorum([Voter(C if new.candidate == B else B, 99)], 1),))

    _failover_that_breaks(_into(Phase.PROMOTING, foreign), r"R5: R_new names [bc].99, which is not sealed")


def test_a_new_primary_that_would_write_alone_beside_others_is_found() -> None:
    _failover_that_breaks(
        _into(Phase.PROMOTING, lambda new: replace(new, rules=(SOLO,))),
        r"R5: R_new is solo, though .* can attach",
    )


def test_a_worse_candidate_than_another_is_found() -> None:
    def preferred(old: Record, new: Record) -> Record:
        if new.phase is not Phase.PROMOTING or old.phase is Phase.PROMOTING or new.candidate is None:
            return new
        other = new.the(C if new.candidate == B else B)
        return new.with_member(replace(other, priority=other.priority + 10))

    fleet = whole_fleet()
    rows(fleet)
    bend_saves(fleet, preferred)
    isolate(fleet, "a")
    with pytest.raises(Violation, match=r"^R3: [bc] is chosen, though there is a better one"):
        run(fleet, 20 * SECOND_US)


def test_an_acknowledgement_that_no_listed_rule_allows_is_found() -> None:
    fleet = whole_fleet()
    for name in ("b", "c"):
        fleet.postgres[name].stalled_until = fleet.world.now_us + 5 * SECOND_US
    fleet.write()
    run(fleet, SECOND_US // 10)
    with pytest.raises(Violation, match=r"^R5: row .* is acknowledged by a, and .* are not met"):
        fleet.postgres["a"].release_all()


def test_priors_that_are_emptied_before_anybody_has_the_first_record_are_found() -> None:
    fleet = whole_fleet()

    def early(old: Record, new: Record) -> Record:
        return replace(new, prior=()) if new.phase is Phase.STABLE and old.phase is Phase.PROMOTING else new

    bend_saves(fleet, early)

    def hang() -> None:
        for server in fleet.postgres.values():
            if server.member != record_of(fleet).candidate:
                server.stalled_until = fleet.world.now_us + 20 * SECOND_US

    fleet.once(lambda record: record.phase is Phase.PROMOTING, hang)
    fleet.kill_postmaster("a")
    with pytest.raises(Violation, match=r"^R5: prior is emptied, and only \[\] of .* have the first record"):
        run(fleet, 20 * SECOND_US)


def test_a_rule_that_is_replaced_without_both_being_listed_is_found() -> None:
    def at_once(old: Record, new: Record) -> Record:
        if len(new.rules) == 2 and new.target is not None:
            return replace(new, rules=(new.target,), target=None)
        return new

    _change_that_breaks(at_once, r"^R6: .* became .*, target None")


def test_a_change_of_both_voters_and_k_in_one_step_is_found() -> None:
    fleet = whole_fleet(members=4)
    record = record_of(fleet)
    b = Rule(RuleKind.QUORUM, record.rule.voters[:2], 2)
    assert record.rule.k == 1
    with pytest.raises(Violation, match=r"^R6: from .* to ANY 2 \(.*\) is more than one step"):
        fleet.truth.saved(record, replace(record, rules=(record.rule, b), target=b))


def test_a_voter_that_is_added_unseen_is_found() -> None:
    fleet = whole_fleet(members=4)
    record = record_of(fleet)
    a = quorum(record.rule.voters[:2], 1)
    fleet.control.decided_us = fleet.world.now_us + 10 * SECOND_US
    old = replace(record, rules=(a,))
    with pytest.raises(Violation, match=r"R6: [bcd].\d is added, and a does not see it streaming"):
        fleet.truth.saved(old, replace(record, rules=(a, record.rule), target=record.rule))


def test_a_change_of_rule_that_leaves_an_acknowledged_row_behind_is_found() -> None:
    fleet = whole_fleet()
    rows(fleet)
    record = record_of(fleet)
    b = quorum([record.the(C).voter], 1)
    fleet.postgres["c"].cut(fleet.postgres["c"].end - 128)
    old = replace(record, rules=(record.rule, b), target=b)
    with pytest.raises(Violation, match=r"^R6: the rule is ANY 1 \(c.\d\) now, and too few of them have row"):
        fleet.truth.saved(old, replace(record, rules=(b,), target=None))


def test_an_incarnation_that_gets_an_old_number_is_found() -> None:
    fleet = whole_fleet()
    record = record_of(fleet)
    other = replace(record.the(B), incarnation=record.the(C).incarnation)
    with pytest.raises(Violation, match=r"^R13: b is another incarnation, and has the number \d again"):
        fleet.truth.saved(record, record.with_member(other))


def test_a_rule_that_names_a_member_which_left_is_found() -> None:
    fleet = whole_fleet()
    record = record_of(fleet)
    with pytest.raises(Violation, match=r"^R13: c.\d left, and .* names it"):
        fleet.truth.saved(record, replace(record, members=record.members[:2]))


def test_an_end_that_is_thrown_away_under_the_leave_for_another_one_is_found() -> None:
    fleet = whole_fleet()
    agent = fleet.agents["b"]
    record = record_of(fleet)
    leave = replace(record.the(B), rebuild=Position(1, Lsn(640)))
    fleet.etcd.record = replace(record.with_member(leave), rules=(quorum([record.the(C).voter], 1),))
    agent.state = replace(agent.state, destroyed=Position(1, Lsn(1_280)))
    server = fleet.postgres["b"]
    assert server.on_rebuilt is not None
    with pytest.raises(Violation, match=r"^R7: b throws 1@0/500 away, the leave is for 1@0/280"):
        server.on_rebuilt(server)


def test_a_rebuilt_member_that_speaks_as_the_same_incarnation_is_found() -> None:
    fleet = whole_fleet()
    fleet.truth.rebuilt(fleet.postgres["b"])
    with pytest.raises(Violation, match=r"^R9: b was rebuilt, and speaks as the same incarnation"):
        run(fleet, 2 * SECOND_US)


def test_the_first_primary_of_a_cluster_breaks_nothing() -> None:
    """The worlds above are clean until they are bent."""
    fleet = whole_fleet()
    assert record_of(fleet).primary == A
    bend_saves(fleet, lambda old, new: new)
    rows(fleet)
    fleet.kill_postmaster("a")
    until(fleet, lambda: record_of(fleet).epoch > 1 and fleet.whole())


@pytest.mark.parametrize(
    ("obeyed", "heard", "must_stop"),
    [
        pytest.param(Version(1, 900), False, False, id="nobody_told_before_the_record_was_past_it"),
        pytest.param(Version(1, 900), True, True, id="it_was_heard"),
        pytest.param(Version(2, 900), False, True, id="the_record_is_not_past_it_yet"),
    ],
)
def test_a_record_that_went_back_stops_a_leader_that_is_told_in_time(
    obeyed: Version, heard: bool, must_stop: bool
) -> None:
    fleet = whole_fleet()
    record = record_of(fleet)
    fleet.lose_host("c")
    run(fleet, SECOND_US)
    fleet.etcd.restore(fleet.etcd.copy(), obeyed={"c": obeyed})
    fleet.etcd.went_back = True
    if heard:
        fleet.truth.heard(fleet.control.name, "c")
    fleet.truth.saved_after_a_restore(replace(record, epoch=record.epoch + 1))
    assert fleet.etcd.must_stop is must_stop
