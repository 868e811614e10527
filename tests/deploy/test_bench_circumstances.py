"""Under which circumstances a bench ran, and the data that it is given."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from deploy.bench import kinds
from deploy.bench.circumstances import Circumstances, circumstances_of
from deploy.bench.filling import CHUNK_MIB, TABLE_MIB, bytes_of_data, chunks, fill
from deploy.bench.session import Plan
from deploy.lab.fleet import Wiring, plan_of


def test_circumstances_are_told_in_words() -> None:
    assert Circumstances(major=15).title == "Three members, PostgreSQL 15"
    special = Circumstances(members=5, data_gib=10.0, behind_mib=512, major=18, profile="fast")
    assert special.title == (
        "Five members, 10 GiB of data, one standby 512 MiB behind in replay, PostgreSQL 18, profile `fast`"
    )


def test_evidence_that_does_not_tell_its_circumstances_is_of_the_first_runs() -> None:
    found = {"setting": {"postgres": "/usr/lib/postgresql/15/bin"}, "figures": [{"profiles": ["default"]}]}
    assert circumstances_of(found) == Circumstances(major=15)


def test_evidence_tells_its_circumstances() -> None:
    setting = {"postgres": "18.6", "members": 5, "data_gib": 10.0, "behind_mib": 0, "profile": "default"}
    assert circumstances_of({"setting": setting, "figures": []}) == Circumstances(5, 10.0, 0, 18)


def test_plain_circumstances_come_first() -> None:
    plain, five = Circumstances(major=15), Circumstances(members=5, major=15)
    both = Circumstances(members=5, data_gib=10.0, major=15)
    assert sorted([both, five, plain], key=lambda one: one.how_special) == [plain, five, both]


def test_a_fleet_has_disks_of_its_own_for_faults_of_disks_alone() -> None:
    under = Circumstances(members=5, data_gib=10.0)
    without = Plan(under, (kinds.HOST_LOST,), 1, 0.0, False).fleet()
    with_disks = Plan(under, (kinds.DISK_STALLED,), 1, 0.0, False).fleet()
    assert (without.disk_mib, without.clusters[0].members) == (None, ("a", "b", "c", "d", "e"))
    assert with_disks.disk_mib is not None
    assert with_disks.disk_mib > 10 * 1024
    assert not with_disks.disks_in_memory
    assert len(plan_of(with_disks, Wiring.NAMESPACES).member_hosts) == 5


def test_data_is_spread_over_tables() -> None:
    statements = list(islice(chunks(), 2 * (TABLE_MIB // CHUNK_MIB + 1)))
    created = [text for text in statements if text.startswith("CREATE TABLE")]
    assert len(created) == 2
    assert created[0] != created[1]
    assert len(statements) - len(created) == 2 * TABLE_MIB // CHUNK_MIB


def test_a_data_directory_is_filled_until_it_has_what_was_asked_for(tmp_path: Path) -> None:
    """Its WAL does not count."""
    (tmp_path / "pg_wal").mkdir()
    (tmp_path / "base").mkdir()
    asked: list[str] = []

    def sql(text: str) -> None:
        asked.append(text)
        for folder in ("pg_wal", "base"):
            (tmp_path / folder / str(len(asked))).write_bytes(b"x" * (1 << 20))

    said: list[str] = []
    fill(sql, tmp_path, 5 / 1024, said.append)
    assert asked[-1] == "CHECKPOINT"
    assert len(asked) == 5 + 1
    assert bytes_of_data(tmp_path) == 6 << 20


def test_a_data_directory_that_does_not_grow_is_given_up(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="does not grow"):
        fill(lambda text: None, tmp_path, 1.0, lambda text: None)
