"""While a package is installed, its service is not started and PostgreSQL makes no cluster.

Two files say so to Debian's packages: /usr/sbin/policy-rc.d (101: not now), and a drop-in of
postgresql-common. Both are put back in every case: afterwards, on SIGINT, SIGTERM and SIGHUP,
and, when this process was killed outright, by the next run, which knows them by their mark.
A policy that was there before is moved aside and comes back as it was.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

MARK = "# made by the set-up of Primacy for the time of one installation"
POLICY = Path("usr/sbin/policy-rc.d")
SAVED_POLICY = Path("usr/sbin/policy-rc.d.saved-by-primacy")
NO_CLUSTER_FOLDER = Path("etc/postgresql-common/createcluster.d")
NO_CLUSTER = NO_CLUSTER_FOLDER / "zz-primacy.conf"
COMMON_FOLDER = Path("etc/postgresql-common")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """A signal asked us to stop: first everything is put back."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(signal.Signals(number).name)


@contextmanager
def services_held_back(root: Path = Path("/")) -> Iterator[None]:
    """`root` is another folder in tests only."""
    put_back(root)
    before = {number: signal.signal(number, _interrupt) for number in SIGNALS}
    try:
        _hold_back(root)
        yield
    finally:
        for number in SIGNALS:  # a second ^C must not cut the putting back
            signal.signal(number, signal.SIG_IGN)
        put_back(root)
        for number, handler in before.items():
            signal.signal(number, handler)


def put_back(root: Path = Path("/")) -> bool:
    """Remove what is ours and bring back what was there; True when there was anything. Safe to repeat."""
    found = False
    if _is_ours(root / POLICY):
        (root / POLICY).unlink()
        found = True
    if os.path.lexists(root / SAVED_POLICY):
        if not os.path.lexists(root / POLICY):
            (root / SAVED_POLICY).rename(root / POLICY)
        found = True
    if _is_ours(root / NO_CLUSTER):
        (root / NO_CLUSTER).unlink()
        found = True
    for folder in (NO_CLUSTER_FOLDER, COMMON_FOLDER):
        mark = root / folder / ".made-by-primacy"
        if mark.exists():
            mark.unlink()
            found = True
            if not any((root / folder).iterdir()):
                (root / folder).rmdir()
    return found


def _hold_back(root: Path) -> None:
    policy = root / POLICY
    if os.path.lexists(policy):
        policy.rename(root / SAVED_POLICY)
    _write(policy, f"#!/bin/sh\n{MARK}\nexit 101\n", 0o755)
    for folder in (COMMON_FOLDER, NO_CLUSTER_FOLDER):
        if not (root / folder).is_dir():
            (root / folder).mkdir(parents=True, mode=0o755)
            (root / folder / ".made-by-primacy").touch()
    _write(root / NO_CLUSTER, f"{MARK}\ncreate_main_cluster = false\n", 0o644)


def _write(path: Path, text: str, mode: int) -> None:
    """Never half a file: a policy that is cut short would let services start."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(text)
    fresh.chmod(mode)
    fresh.rename(path)


def _is_ours(path: Path) -> bool:
    try:
        return not path.is_symlink() and MARK in path.read_text(errors="replace")
    except OSError:
        return False


def _interrupt(number: int, _frame: FrameType | None) -> None:
    raise Interrupted(number)
