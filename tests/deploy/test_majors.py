"""Which PostgreSQL of which major is taken for `make test-majors`."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.setup import majors
from deploy.setup.account import unprivileged_account
from deploy.setup.binaries import LOWEST_MINOR, Found
from tests.deploy.test_binaries import folder, pretend_postgresql

__all__ = ["folder"]  # a fixture

ROOT = Path(__file__).resolve().parents[2]


def test_every_package_is_in_the_lock_with_its_hashes() -> None:
    lock = (ROOT / "requirements" / "majors.txt").read_text()
    for package, _ in majors.PACKAGES.values():
        assert f"\n{package}==" in f"\n{lock}"


def test_packages_are_of_supported_majors() -> None:
    assert majors.PACKAGES.keys() <= LOWEST_MINOR.keys()


def test_the_system_s_comes_before_the_package_index_s(folder: Path) -> None:
    system = {major: pretend_postgresql(folder / str(major), f"{major}.20") for major in LOWEST_MINOR}
    found = majors.majors_of(
        ((path, "the system's") for path in system.values()),
        unprivileged_account(),
        lambda: pytest.fail("nothing had to be installed"),
    )
    assert found == {major: Found(path, f"{major}.20", "the system's") for major, path in system.items()}


def test_what_the_system_lacks_comes_from_the_package_index(folder: Path) -> None:
    system = pretend_postgresql(folder / "system", "15.20")
    _, below = majors.PACKAGES[17]
    installed = pretend_postgresql(folder / "lib" / "python3.11" / "site-packages" / below, "17.10")
    found = majors.majors_of([(system, "the system's")], unprivileged_account(), lambda: folder)
    assert {major: one.path for major, one in found.items()} == {15: system, 17: installed}


def test_a_minor_that_is_refused_is_not_taken(folder: Path) -> None:
    refused = pretend_postgresql(folder / "16", "16.2")
    assert majors.majors_of([(refused, "the system's")], unprivileged_account(), lambda: None) == {}
