"""Who runs the unprivileged processes (PostgreSQL refuses root), and whether he can run a program."""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from deploy.setup.say import SetupProblem

ANSWER_WITHIN_S = 20


@dataclass(frozen=True, slots=True)
class Account:
    """`switch` is False when we are that user already."""

    name: str
    uid: int
    gid: int
    switch: bool


def unprivileged_account() -> Account:
    """Root hands over to PRIMACY_RUN_AS, else `postgres`, else `nobody`; anybody else stays himself."""
    if os.geteuid() != 0:
        me = os.geteuid()
        try:
            name = pwd.getpwuid(me).pw_name
        except KeyError:  # a container's user without an entry
            name = str(me)
        return Account(name=name, uid=me, gid=os.getegid(), switch=False)
    wanted = os.environ.get("PRIMACY_RUN_AS")
    for name in (wanted,) if wanted else ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid == 0:
            raise SetupProblem(f"PRIMACY_RUN_AS={name}: PostgreSQL refuses to run as root; name another user")
        return Account(name=name, uid=entry.pw_uid, gid=entry.pw_gid, switch=True)
    raise SetupProblem(f"there is no user {wanted or 'postgres or nobody'} to run PostgreSQL as")


def output_as(account: Account, command: Sequence[str]) -> str | None:
    """What the program prints when that user runs it; None when he can't."""
    try:
        if account.switch:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                timeout=ANSWER_WITHIN_S,
                check=False,
                cwd="/",
                user=account.uid,
                group=account.gid,
                extra_groups=[],
            )
        else:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=ANSWER_WITHIN_S, check=False, cwd="/"
            )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout + done.stderr if done.returncode == 0 else None
