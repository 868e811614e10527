"""The checkers of I1 to I14 find what they are for: each is given a world in which its invariant is broken."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from common.assignment import Position, Version
from common.facts import SealReport
from common.lsn import Lsn
from common.rule import SOLO
from tests.simulator.broken import (
    SECOND_US,
    B,
    exchange,
    fail_over,
    isolate,
    record_of,
    rows,
    run,
    until,
    whole_fleet,
)
from tests.simulator.fleet import Fleet
from tests.simulator.model_clients import Clients
from tests.simulator.swarm import _whole_again
from tests.simulator.violation import Violation


def test_i1_an_acknowledged_row_that_lacks_at_the_new_primary_is_found() -> None:
    fleet = whole_fleet()
    rows(fleet)
    for name in ("b", "c"):
        exchange(fleet.postgres[name], -1)
    fleet.kill_postmaster("a")
    with pytest.raises(Violation, match=r"^I1: row .* acknowledged in epoch 1, lacks at [bc] in 2"):
        run(fleet, 10 * SECOND_US)


def test_i1_a_start_that_opens_without_what_was_acknowledged_is_found() -> None:
    fleet = whole_fleet()
    rows(fleet)
    server = fleet.postgres["a"]
    server.crash()
    server.cut(server.end - 128)
    server.begin_start(1_000)
    server.conf.closed = False
    with pytest.raises(Violation, match=r"^I1: row .* lacks at a, which opens"):
        run(fleet, SECOND_US)


def test_i2_a_superseded_primary_that_acknowledges_what_the_new_one_lacks_is_found() -> None:
    fleet = whole_fleet()
    isolate(fleet, "a")
    run(fleet, SECOND_US // 2)
    fleet.write()
    fail_over(fleet)
    with pytest.raises(Violation, match=r"^I2/I1: row .* acknowledged by a, lacking at [bc] in epoch 2"):
        fleet.postgres["a"].release_all()


def test_i3_a_second_primary_on_the_timeline_of_an_epoch_is_found() -> None:
    fleet = whole_fleet()
    third = fleet.postgres["c"]
    isolate(fleet, "c")
    fleet.kill_postmaster("a")
    until(fleet, lambda: record_of(fleet).phase == "STABLE" and record_of(fleet).primary == B)
    third.histories.clear()
    third.promote()
    with pytest.raises(Violation, match=r"^I3: c is promoted to timeline 2, which is b's"):
        run(fleet, SECOND_US)


def test_i3_a_promotion_that_no_record_allocated_is_found() -> None:
    fleet = whole_fleet()
    fleet.postgres["b"].promote()
    with pytest.raises(Violation, match=r"^I3: b is promoted to timeline 2, which no record has"):
        run(fleet, SECOND_US)


def test_i3_a_member_that_acknowledges_on_the_timeline_of_another_is_found() -> None:
    fleet = whole_fleet()
    rows(fleet)
    other = fleet.postgres["c"]
    other.crash()
    other.standby_signal = False
    other.conf.rule, other.conf.closed = "", False
    other.begin_start(1_000)
    with pytest.raises(Violation, match=r"^I3: c acknowledges on timeline 1 of a"):
        run(fleet, SECOND_US)


def test_i4_a_standby_whose_log_is_no_prefix_is_found_however_far_below_the_difference_lies() -> None:
    fleet = whole_fleet()
    rows(fleet)
    exchange(fleet.postgres["c"], 1)
    with pytest.raises(Violation, match=r"^I4: c streams from a, but is no prefix of it"):
        rows(fleet, 100)


def test_i5_a_cluster_that_does_not_become_whole_is_found() -> None:
    fleet = whole_fleet()
    Clients(fleet)
    fleet.agents["c"].unstartable = "its binaries are gone"
    fleet.kill_postmaster("c")
    with pytest.raises(Violation, match=r"^not whole within 60 s of healing \(I5\)"):
        _whole_again(fleet, lost=[])


def test_i5_a_whole_cluster_that_acknowledges_nothing_is_found() -> None:
    fleet = whole_fleet()
    with pytest.raises(
        Violation, match=r"^whole, but no fresh commit is acknowledged and reaches every member \(I5\)"
    ):
        _whole_again(fleet, lost=[])


def test_i6_a_seal_below_what_its_member_told_that_it_had_flushed_is_found() -> None:
    fleet = whole_fleet()
    rows(fleet)
    isolate(fleet, "a")
    run(fleet, SECOND_US // 2)
    server = fleet.postgres["b"]
    server.cut(server.end - 2 * 128)
    with pytest.raises(Violation, match=r"^I6: b reports .* as its end, and told that it had flushed"):
        run(fleet, 10 * SECOND_US)


def test_i6_a_seal_on_a_lower_timeline_than_what_its_member_told_is_found() -> None:
    fleet = whole_fleet()
    new = fail_over(fleet)
    rows(fleet)
    old = record_of(fleet)
    isolate(fleet, new)
    run(fleet, SECOND_US // 2)
    other = fleet.postgres["c" if new == "b" else "b"]
    assert other.timeline == 2
    other.cut(fleet.checkers.promotions[2][2][-1].end)
    assert other.timeline == 1
    fleet.heal()
    isolate(fleet, new)
    says = rf"^I6: {other.member} reports 1@.* as its end, and told that it had flushed"
    with pytest.raises(Violation, match=says):
        run(fleet, 20 * SECOND_US)
    assert record_of(fleet).epoch > old.epoch


def test_i7_a_voter_that_is_counted_without_having_the_commit_is_found() -> None:
    fleet = whole_fleet()
    server = fleet.postgres["a"]
    for name in ("b", "c"):
        fleet.postgres[name].stalled_until = fleet.world.now_us + 2 * SECOND_US
    for sender in server.senders:
        sender.flushed += 10_000
    with pytest.raises(Violation, match=r"^I7: [bc].\d@1 was counted by a and lacks"):
        rows(fleet, 1)


def _seal_in_words_only(fleet: Fleet, name: str) -> None:
    """Its agent reports a seal for epoch 2, truly as far as the end goes, and its receiver goes on."""
    agent = fleet.agents[name]
    seal = SealReport(2, agent.state.incarnation, 1, Lsn(agent.postgres.reported_flush), None)
    agent.state = replace(agent.state, seal=seal)
    fleet.checkers.reported(agent, agent.facts())


def test_i8_a_sealed_member_that_is_streamed_to_is_found() -> None:
    fleet = whole_fleet()
    _seal_in_words_only(fleet, "b")
    with pytest.raises(Violation, match=r"^I8: b is sealed for 2 and streams in 1"):
        rows(fleet, 1)


def test_i8_a_receiver_is_of_the_epoch_that_its_name_says() -> None:
    fleet = whole_fleet()
    receiver = fleet.postgres["b"].receiver
    assert receiver is not None
    receiver.epoch = 9
    _seal_in_words_only(fleet, "b")
    with pytest.raises(Violation, match=r"^I8: b is sealed for 2 and streams in 1"):
        rows(fleet, 1)


def test_i8_what_was_reported_counts_though_the_agent_has_forgotten_it() -> None:
    fleet = whole_fleet()
    _seal_in_words_only(fleet, "b")
    agent = fleet.agents["b"]
    agent.state = replace(agent.state, seal=None)
    with pytest.raises(Violation, match=r"^I8: b is sealed for 2 and streams in 1"):
        rows(fleet, 1)


def test_i8_a_sealed_member_that_replies_in_a_lower_epoch_is_found() -> None:
    fleet = whole_fleet()
    server = fleet.postgres["b"]
    receiver = server.receiver
    assert receiver is not None
    fail_over(fleet)
    with pytest.raises(Violation, match=r"^I8: b is sealed for 2 and replies in epoch 1"):
        server._reply(receiver, server.end)


def test_i9_an_agent_that_goes_back_is_found() -> None:
    fleet = whole_fleet()
    agent = fleet.agents["b"]
    assert agent.durable is not None
    agent.durable = replace(agent.durable, obeyed=Version(1, 1))
    fleet.restart_agent("b")
    with pytest.raises(Violation, match=r"^I9: b had obeyed .* and is at .* after a restart"):
        run(fleet, SECOND_US)


def test_i9_an_agent_in_an_epoch_that_no_record_had_is_found() -> None:
    fleet = whole_fleet()
    agent = fleet.agents["b"]
    assert agent.durable is not None
    agent.durable = replace(agent.durable, obeyed=Version(7, 9_999))
    with pytest.raises(Violation, match=r"^I9: b obeyed epoch 7 above the record's 1"):
        run(fleet, SECOND_US)


def test_i10_a_walsender_that_acts_on_a_rule_which_the_record_lacks_is_found() -> None:
    fleet = whole_fleet()
    fleet.postgres["a"].senders[0].rule = 'ANY 1 ("c.9@1")'
    with pytest.raises(Violation, match=r"^I10: the walsender of .* acts on ANY 1 \(\"c.9@1\"\)"):
        run(fleet, SECOND_US)


def test_i10_a_checkpointer_that_lets_commits_wait_for_nobody_is_found() -> None:
    fleet = whole_fleet()
    fleet.postgres["a"].waits = False
    with pytest.raises(Violation, match=r"^I10: commits at a wait for nobody"):
        run(fleet, SECOND_US)


def test_i10_a_candidate_whose_walsender_acts_on_a_foreign_rule_is_found() -> None:
    fleet = whole_fleet()
    fleet.kill_postmaster("a")
    until(fleet, lambda: record_of(fleet).phase == "PROMOTING")
    server = fleet.postgres[str(record_of(fleet).candidate)]
    until(fleet, lambda: server.state == "primary")
    assert record_of(fleet).phase == "PROMOTING"
    server.waits = False
    with pytest.raises(Violation, match=r"^I10: commits at [bc] wait for nobody"):
        run(fleet, SECOND_US)


def test_i10_a_superseded_primary_that_acts_on_another_rule_than_its_priors_is_found() -> None:
    fleet = whole_fleet()
    for name in ("b", "c"):
        fleet.cut.add((name, "a"))
    fleet.cut.add(("a", "control"))
    until(fleet, lambda: record_of(fleet).epoch == 2)
    server = fleet.postgres["a"]
    assert server.senders
    server.senders[0].rule = 'ANY 1 ("c.9@1")'
    with pytest.raises(Violation, match=r"^I10: the walsender of .* acts on ANY 1 \(\"c.9@1\"\)"):
        run(fleet, SECOND_US)


def test_i11_a_member_that_is_rebuilt_while_a_prior_without_a_bound_names_it_is_found() -> None:
    fleet = whole_fleet()
    fleet.kill_postmaster("a")
    until(fleet, lambda: record_of(fleet).phase == "SEALING")
    record = record_of(fleet)
    fleet.etcd.record = replace(record, rules=(SOLO,))
    server = fleet.postgres["b"]
    assert server.on_rebuilt is not None
    with pytest.raises(Violation, match=r"^I11: b.\d is rebuilt while Prior\(.* has no bound and names it"):
        server.on_rebuilt(server)


def test_i11_a_voter_that_is_rebuilt_while_the_rule_counts_it_is_found() -> None:
    fleet = whole_fleet()
    server = fleet.postgres["b"]
    assert server.on_rebuilt is not None
    with pytest.raises(Violation, match=r"^I11: b.\d is rebuilt while .* counts it"):
        server.on_rebuilt(server)


def test_i12_a_superseded_primary_that_is_started_again_and_lets_clients_in_is_found() -> None:
    fleet = whole_fleet()
    fail_over(fleet)
    server = fleet.postgres["a"]
    server.crash()
    server.cut(
        fleet.checkers.promotions[2][2][-1].end
    )  # what it shows is old, and nothing else is wrong with it
    server.begin_start(1_000)
    server.conf.closed = False
    with pytest.raises(Violation, match=r"^I12: a was superseded, is started again, and lets clients in"):
        run(fleet, SECOND_US)


def test_i12_a_superseded_primary_that_shows_itself_for_longer_than_its_lease_is_found() -> None:
    fleet = whole_fleet()
    agent = fleet.agents["a"]
    agent.fenced = lambda by: None  # type: ignore[method-assign]
    fail_over(fleet)
    with pytest.raises(
        Violation, match=r"^I12: a was superseded \d+ ms of its own clock ago and still shows"
    ):
        run(fleet, 10 * SECOND_US)


def test_i13_a_bound_below_what_its_primary_acknowledged_is_found() -> None:
    fleet = whole_fleet()
    rows(fleet)
    fleet.kill_postmaster("a")
    until(fleet, lambda: record_of(fleet).phase == "PROMOTING")
    record = record_of(fleet)
    lowered = replace(record.prior[0], bound=Position(1, Lsn(128)))
    with pytest.raises(Violation, match=r"^I13: the bound of a in epoch 1 is 1@0/80, and it acknowledged"):
        fleet.checkers.saved(record, replace(record, prior=(lowered,)))


def test_i13_the_bound_of_alike_priors_that_were_kept_as_one_is_judged_for_each_of_them() -> None:
    fleet = whole_fleet()
    rows(fleet)
    fleet.kill_postmaster("a")
    until(fleet, lambda: record_of(fleet).phase == "PROMOTING")
    record = record_of(fleet)
    merged = replace(record.prior[0], epoch=5, bound=Position(1, Lsn(128)))
    with pytest.raises(Violation, match=r"^I13: the bound of a in epoch 1 is 1@0/80, and it acknowledged"):
        fleet.checkers.saved(record, replace(record, prior=(merged,)))


def test_i14_a_deadline_that_stops_a_primary_whose_voters_answer_is_found() -> None:
    fleet = whole_fleet()
    run(fleet, 10 * SECOND_US)
    with pytest.raises(
        Violation, match=r"^I14: a is fenced by its guard, and \d+ ms long its voters answered"
    ):
        fleet.agents["a"].fenced("guard")


def test_i14_an_agent_that_stops_what_it_was_told_to_serve_is_found() -> None:
    fleet = whole_fleet()
    agent = fleet.agents["a"]
    until(fleet, lambda: agent.recipe is not None)
    with pytest.raises(Violation, match=r"^I14: a was told to serve, and is stopped by its own agent"):
        agent.host.on_stopped(agent)
