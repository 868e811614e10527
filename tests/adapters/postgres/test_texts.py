"""What is written for PostgreSQL, and read back: settings, histories, verifiers. No server is needed."""

from __future__ import annotations

import base64
import errno
import hashlib
import hmac
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.core.steps import Stream
from agents.postgres import histories
from agents.postgres.config import InstanceConfig
from agents.postgres.files import DurableFile, write_all
from agents.postgres.hba import hba_text, lets_clients_in
from agents.postgres.histories import plant, real_history, trailing_placeholders
from agents.postgres.own_files import OwnFiles
from agents.postgres.processes import Child, started_ticks, ticks_at
from agents.postgres.receivers import may_receive
from agents.postgres.roles import fits, verifier
from agents.postgres.service_file import read_address, service_text
from agents.postgres.settings import (
    include_last,
    overruled,
    purge_auto_conf,
    quoted,
    read_settings,
    settings_text,
    without_sample,
)
from common.assignment import HistoryStep, Upstream
from common.clock import BootClock
from common.ids import ClusterName, MemberName
from common.lsn import Lsn
from common.rule import FENCE

STREAM = Stream(Upstream(MemberName("a"), "10.0.0.1", 5432), "b.2@7", "b_2_e7", 7)


def config(tmp_path: Path, **settings: str) -> InstanceConfig:
    return InstanceConfig(
        cluster=ClusterName("shop"),
        member=MemberName("b"),
        bin_directory=tmp_path,
        data_directory=tmp_path / "data",
        state_directory=tmp_path,
        socket_directory=tmp_path,
        listen_addresses="*",
        port=5432,
        hba=("host all all all scram-sha-256",),
        settings=settings,
    )


@pytest.mark.parametrize("rule", [FENCE, "", 'ANY 2 ("a.1@3","b.2@3","c.1@3")', r"it's \ odd"])
def test_rule_and_upstream_are_read_back_from_the_settings(tmp_path: Path, rule: str) -> None:
    assert read_settings(settings_text(config(tmp_path), 15, rule, STREAM)) == (rule, "b.2@7")
    assert read_settings(settings_text(config(tmp_path), 17, rule, None)) == (rule, "")
    assert read_settings(None) == (None, "")


def test_the_agent_s_settings_win_and_the_operator_s_come_before_them(tmp_path: Path) -> None:
    mine = config(tmp_path, shared_buffers="1GB", Restart_After_Crash="on", wal_level="logical")
    text = settings_text(mine, 18, FENCE, None)
    assert "shared_buffers = '1GB'" in text
    assert "wal_level = 'logical'" in text
    assert "restart_after_crash = 'off'" in text
    assert "Restart_After_Crash" not in text
    assert "idle_replication_slot_timeout = '0'" in text
    assert "sync_replication_slots = 'off'" in text
    assert overruled(mine) == ["Restart_After_Crash"]


@pytest.mark.covers("S21")
def test_the_upstreams_address_is_read_back_from_the_service_file(tmp_path: Path) -> None:
    assert read_address(service_text(config(tmp_path), STREAM)) == "10.0.0.1:5432"
    assert read_address(service_text(config(tmp_path), None)) == ""
    assert read_address(None) == ""


def test_without_a_stream_the_address_is_nowhere(tmp_path: Path) -> None:
    assert "[e7]\nhost=10.0.0.1\nport=5432\n" in service_text(config(tmp_path), STREAM)
    assert "[" not in service_text(config(tmp_path), None)
    assert "10.0.0.1" not in settings_text(config(tmp_path), 15, FENCE, STREAM)


@pytest.mark.parametrize(
    ("rule", "operator_s", "expected"),
    [
        pytest.param(FENCE, {}, "off", id="who_does_not_serve_begins_a_file_of_wal_without_zeros"),
        pytest.param("ANY 1 (b.2@7)", {}, None, id="a_primary_keeps_postgresql_s_default"),
        pytest.param(FENCE, {"wal_init_zero": "on"}, "on", id="the_operator_says_otherwise"),
    ],
)
def test_wal_is_not_zeroed_where_commits_would_wait_for_it(
    tmp_path: Path, rule: str, operator_s: dict[str, str], expected: str | None
) -> None:
    text = settings_text(config(tmp_path, **operator_s), 15, rule, None)
    assert [line for line in text.splitlines() if line.startswith("wal_init_zero")] == (
        [] if expected is None else [f"wal_init_zero = '{expected}'"]
    )


@pytest.mark.covers("R1")
def test_what_is_withdrawn_lasts_and_what_is_granted_is_granted_again(tmp_path: Path) -> None:
    """A grant costs no fsync of the folder: it may be lost in a power cut, so it is never taken for what lies there."""
    (tmp_path / "data").mkdir()
    mine = config(tmp_path)
    files = OwnFiles(mine, 15)

    def is_written_anew(stream: Stream | None, *, closed: bool) -> bool:
        files.write(FENCE, stream, closed=closed)
        before = mine.service_file.stat().st_ino, mine.settings_file.stat().st_ino
        files.write(FENCE, stream, closed=closed)
        return (mine.service_file.stat().st_ino, mine.settings_file.stat().st_ino) != before

    assert not is_written_anew(None, closed=True)
    assert is_written_anew(STREAM, closed=False)
    assert not is_written_anew(None, closed=True)
    files.set_door(closed=False)
    opened = mine.hba_file.stat().st_ino
    files.set_door(closed=False)
    assert mine.hba_file.stat().st_ino != opened
    assert files.open


def test_a_file_that_is_still_written_is_waited_for_where_another_one_failed(tmp_path: Path) -> None:
    """One that hung must never land after a newer one (agents/postgres/lanes.py)."""
    failed, returned, landed = threading.Event(), threading.Event(), list[str]()

    class Broken(DurableFile):
        def write_beside(self, data: bytes) -> Path:
            failed.set()
            raise OSError(errno.EIO, "Input/output error")

    class Slow(DurableFile):
        def write_beside(self, data: bytes) -> Path:
            failed.wait(10)
            returned.wait(0.05)
            landed.append(self.path.name)
            return super().write_beside(data)

    files = [(Broken(tmp_path / "service", None), "a"), (Slow(tmp_path / "settings", None), "b")]
    with ThreadPoolExecutor(1) as beside:
        with pytest.raises(OSError, match="Input/output"):
            write_all(files, beside)
        there = list(landed)
        returned.set()
    assert there == ["settings"]


def test_closed_leaves_the_operator_s_lines_out(tmp_path: Path) -> None:
    closed, opened = (hba_text(config(tmp_path), closed=shut) for shut in (True, False))
    assert not lets_clients_in(closed)
    assert lets_clients_in(opened)
    assert not lets_clients_in(None)
    assert "host all all all" in opened
    assert "host all all all" not in closed


def test_of_initdb_s_file_what_is_set_stays_and_its_remarks_go() -> None:
    """PostgreSQL's processes would read through all of them at each reload."""
    text = "# - Memory -\n\nshared_buffers = 128MB\t\t\t# min 128kB\n  #work_mem = 4MB\n\nlc_messages = 'C'\n"
    first, *kept = without_sample(text).splitlines()
    assert first.startswith("#")
    assert "postgresql.conf.sample" in first
    assert kept == ["shared_buffers = 128MB\t\t\t# min 128kB", "lc_messages = 'C'"]


def test_our_settings_are_included_last_exactly_once(tmp_path: Path) -> None:
    conf = tmp_path / "postgresql.conf"
    conf.write_text(
        "port = 1\ninclude '/the/source.conf'  # primacy's agent keeps this the last line\nport = 2\n"
    )
    for _ in range(2):
        include_last(tmp_path, tmp_path / "primacy.conf", None)
    lines = conf.read_text().splitlines()
    assert lines[:2] == ["port = 1", "port = 2"]
    assert len(lines) == 3
    assert str(tmp_path / "primacy.conf") in lines[2]


def test_managed_names_are_taken_out_of_postgresql_auto_conf(tmp_path: Path) -> None:
    auto = tmp_path / "postgresql.auto.conf"
    auto.write_text("# head\nPRIMARY_conninfo = 'host=x'\nwork_mem = '5MB'\n")
    assert purge_auto_conf(tmp_path, None) == ["PRIMARY_conninfo"]
    assert auto.read_text() == "# head\nwork_mem = '5MB'\n"
    assert purge_auto_conf(tmp_path, None) == []


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"])))
def test_every_value_is_quoted_so_that_it_is_read_back(value: str) -> None:
    assert read_settings(f"synchronous_standby_names = {quoted(value)}\n")[0] == value


def test_only_placeholders_with_nothing_real_above_are_trailing(tmp_path: Path) -> None:
    plant(tmp_path, 1, (3, 2), None)
    assert trailing_placeholders(tmp_path, 1) == (2, 3)
    histories.place(tmp_path, 4, (HistoryStep(1, Lsn(0x5000000)),), None)
    plant(tmp_path, 4, (6, 5), None)
    assert trailing_placeholders(tmp_path, 1) == (5, 6)
    assert trailing_placeholders(tmp_path, 6) == ()
    # A gap hides what is above it.
    plant(tmp_path, 4, (9,), None)
    assert trailing_placeholders(tmp_path, 4) == (5, 6)


def test_real_ancestors_are_placed_as_such_and_what_is_there_stays(tmp_path: Path) -> None:
    steps = (HistoryStep(1, Lsn(0x5000000)), HistoryStep(3, Lsn(0x6000000)))
    plant(tmp_path, 1, (5,), None)
    histories.place(tmp_path, 5, steps, None)
    assert real_history(tmp_path, 5) == steps
    assert real_history(tmp_path, 3) == steps[:1]
    kinds = {file.timeline: file.placeholder for file in histories.list_histories(tmp_path, 1)}
    assert kinds == {2: True, 3: False, 4: True, 5: False}
    before = histories.history_path(tmp_path, 3).read_text()
    histories.place(tmp_path, 5, (), None)
    assert histories.history_path(tmp_path, 3).read_text() == before


def test_a_verifier_fits_its_password_alone() -> None:
    stored = verifier("geheim", b"0123456789abcdef")
    assert fits(stored, "geheim")
    assert not fits(stored, "other")
    assert not fits("md5 something", "geheim")


@pytest.mark.parametrize(
    ("password", "iterations"),
    [
        ("geheim", 4096),
        ("0123456789abcdef0123456789abcde", 4096),
        ("correct horse battery staple, 2026", 4096),
        ("0123456789abcdef0123456789abcdef", 16),
    ],
)
def test_a_password_that_was_drawn_costs_a_standby_few_iterations(password: str, iterations: int) -> None:
    stored = verifier(password, b"0123456789abcdef")
    assert stored.startswith(f"SCRAM-SHA-256${iterations}:")
    assert fits(stored, password)


def test_a_verifier_of_another_number_of_iterations_is_made_anew() -> None:
    drawn, salt = "0123456789abcdef0123456789abcdef", b"0123456789abcdef"
    salted = hashlib.pbkdf2_hmac("sha256", drawn.encode(), salt, 4096)
    client, server = (hmac.digest(salted, key, "sha256") for key in (b"Client Key", b"Server Key"))
    keys = ":".join(base64.b64encode(key).decode() for key in (hashlib.sha256(client).digest(), server))
    assert not fits(f"SCRAM-SHA-256$4096:{base64.b64encode(salt).decode()}${keys}", drawn)


@pytest.mark.parametrize(
    ("title", "receives"),
    [
        ("walreceiver streaming 0/3000060", True),
        ("walreceiver", True),
        ("slotsync worker", True),
        ("startup recovering 000000010000000000000003", False),
        ("", False),
    ],
)
def test_receivers_are_known_by_their_titles(title: str, receives: bool) -> None:
    assert Child(1, title).is_receiver is receives


@pytest.mark.covers("R1")
def test_a_child_that_was_forked_after_the_address_was_withdrawn_is_no_receiver_of_the_old_one() -> None:
    assert may_receive(Child(7, "walreceiver streaming", 0), 500)
    assert may_receive(Child(7, "", 499), 500)
    assert may_receive(Child(7, "", 500), 500)  # in the same tick: before or after
    assert not may_receive(Child(7, "", 501), 500)
    assert not may_receive(Child(7, "app postgres 10.0.0.9 idle", 0), 500)


def test_the_kernel_s_clock_and_ours_count_the_same_ticks() -> None:
    clock = BootClock()
    before = ticks_at(clock.now())
    child = subprocess.Popen(["sleep", "5"])
    try:
        assert before <= started_ticks(child.pid) <= ticks_at(clock.now())
    finally:
        child.kill()
        child.wait()
    assert started_ticks(child.pid) == 0
