"""The folder that everything is installed into, and the lock that keeps two set-ups apart.

Layout of PRIMACY_HOME (default /var/tmp/primacy-<uid>, mode 0755: others must be able to run it):

    setup.lock            held while something is built
    env-<lock>-<key>/     an environment: interpreter and libraries
    code-<key>/           a copy of the code, as it was when a command began
    cache/                of the tools (types, lint, hypothesis)
    apt.log               what the system's packager said

`<key>` is a hash of what went in, so a second run finds what the first one built. A folder
is complete when it holds `.complete`, and in use while somebody holds a shared lock on `.in-use`.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.setup.say import SetupProblem, say

LOCK_WITHIN_S = 1200
COMPLETE = ".complete"
IN_USE = ".in-use"
UNUSED_FOR_S = 24 * 3600


def source_root() -> Path:
    """Where this copy of the code lies: a clone, or the copy that was made of it."""
    return Path(__file__).resolve().parents[2]


def home() -> Path:
    """The folder, made if need be. Refused if somebody else could have planted something in it."""
    told = os.environ.get("PRIMACY_HOME")
    folder = Path(told).absolute() if told else Path(f"/var/tmp/primacy-{os.geteuid()}")
    try:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    except OSError as problem:
        raise SetupProblem(
            f"cannot make {folder} ({problem.strerror}); set PRIMACY_HOME to a folder of yours"
        ) from problem
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise SetupProblem(
            f"{folder} must be a real folder, owned by you and writable by you only; "
            "remove it or set PRIMACY_HOME to another one"
        )
    folder.chmod(0o755)
    return folder


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One set-up at a time. The kernel drops the lock of a process that died."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        began = time.monotonic()
        told = False
        while not _try_lock(descriptor, fcntl.LOCK_EX):
            if time.monotonic() - began > LOCK_WITHIN_S:
                raise SetupProblem(
                    f"another set-up has held {path} for {LOCK_WITHIN_S} s; end it and try again"
                )
            if not told and time.monotonic() - began > 2:
                say("waiting for another set-up to finish")
                told = True
            time.sleep(0.1)
        yield
    finally:
        os.close(descriptor)


def is_complete(folder: Path) -> bool:
    return (folder / COMPLETE).exists()


def use(folder: Path) -> None:
    """Hold a shared lock on the folder until this process ends, also across `exec`."""
    descriptor = os.open(folder / IN_USE, os.O_RDWR | os.O_CREAT, 0o644)
    os.set_inheritable(descriptor, True)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    os.utime(folder / IN_USE)


def remove_unused(parent: Path, *, prefix: str, keep_count: int) -> None:
    """Remove the oldest folders that nobody has used for a day. Call with the lock held."""
    folders = [folder for folder in parent.glob(f"{prefix}*") if folder.is_dir()]
    folders.sort(key=_last_used_s, reverse=True)
    for folder in folders[keep_count:]:
        if time.time() - _last_used_s(folder) < UNUSED_FOR_S:
            continue
        descriptor = os.open(folder / IN_USE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            if _try_lock(descriptor, fcntl.LOCK_EX):
                shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(descriptor)


def _last_used_s(folder: Path) -> float:
    mark = folder / IN_USE
    return (mark if mark.exists() else folder).stat().st_mtime


def _try_lock(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
