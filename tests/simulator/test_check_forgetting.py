"""Forgetting finds who speaks, seals or is counted as one that it is not any more (R13), and a change begun unheard."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from common.assignment import Position
from common.facts import PostgresState, SealReport
from common.lsn import Lsn
from common.rule import Voter, quorum
from orchestrator.core.record import Record
from tests.simulator.broken import SECOND_US, A, B, C, bend_saves, record_of, run, whole_fleet
from tests.simulator.fleet import Fleet
from tests.simulator.model_directory import Volume
from tests.simulator.violation import Violation


def test_r13_who_speaks_as_before_over_another_disk_is_found() -> None:
    fleet = whole_fleet()
    fleet.postgres["c"].disks += 1
    with pytest.raises(Violation, match=r"^R13: the disk of c is another one, and it speaks as the same"):
        run(fleet, 2 * SECOND_US)


def test_r13_a_volume_that_is_put_in_again_is_another_disk() -> None:
    fleet = whole_fleet()
    server = fleet.postgres["c"]
    volume, before = Volume(server), server.disks
    fleet.lose_host("c")
    volume.mount(server)
    assert (server.disks > before, server.state) == (True, PostgresState.STOPPED)
    assert server.log == fleet.postgres["a"].log[: len(server.log)]


def test_r13_a_seal_of_a_half_made_directory_is_found() -> None:
    fleet = whole_fleet()
    agent = fleet.agents["c"]
    agent.postgres.crash()
    agent.postgres.begin_copy(rewind=True)
    seal = SealReport(2, agent.state.incarnation, 1, Lsn(0x10000), None)
    agent.store(replace(agent.state, seal=seal))
    with pytest.raises(Violation, match=r"^R13: c is sealed for 2, and its data directory is half made"):
        run(fleet, 2 * SECOND_US)


def test_r13_a_leave_to_rebuild_a_voter_is_found() -> None:
    def give_leave(old: Record, new: Record) -> Record:
        return new.with_member(replace(new.the(B), rebuild=Position(1, Lsn(128))))

    fleet = whole_fleet()
    bend_saves(fleet, give_leave)
    fleet.lose_host("c")
    with pytest.raises(Violation, match=r"R13: b.\d may be rebuilt, and .* name it"):
        run(fleet, 20 * SECOND_US)


def test_r13_a_primary_that_gets_another_number_while_it_is_down_is_found() -> None:
    fleet = whole_fleet()
    record = record_of(fleet)
    other = record.with_member(replace(record.the(A), number=record.the(A).number + 1))
    fleet.postgres["a"].crash()
    with pytest.raises(Violation, match=r"R13: a, the primary, is down and was a.\d; now it is a.\d"):
        fleet.truth.saved(record, other)


def test_r6_a_change_that_is_begun_while_no_report_of_the_primary_comes_is_found() -> None:
    fleet = whole_fleet()
    fleet.network.filter_streams("a", "n1", 10 * SECOND_US)
    record, smaller = record_of(fleet), quorum([_voter(fleet)], 1)
    begun = replace(record, rules=(record.rules[0], smaller), target=smaller)
    fleet.truth.saved(record, begun)
    run(fleet, 4 * SECOND_US)
    with pytest.raises(Violation, match=r"^R6: a change to ANY 1 \(c.\d\) is begun, and no report of a came"):
        fleet.truth.saved(record, begun)


def _voter(fleet: Fleet) -> Voter:
    return record_of(fleet).the(C).voter
