"""Which programs a lab runs, and as whom. Command lines are data: stand-ins can take their place.

Finding and installing them is the set-up's business (`deploy.setup`); here its findings become commands.
"""

from __future__ import annotations

import os
import pwd
import re
from dataclasses import dataclass
from pathlib import Path

from deploy.setup.binaries import ETCD_THAT_LOSES_WRITES
from deploy.setup.prepared import Prepared


@dataclass(frozen=True, slots=True)
class User:
    name: str
    uid: int
    gid: int

    @classmethod
    def named(cls, name: str) -> User:
        """Without root it can only be ourselves."""
        if os.geteuid() != 0:
            return cls.ourselves()
        entry = pwd.getpwnam(name)
        return cls(entry.pw_name, entry.pw_uid, entry.pw_gid)

    @classmethod
    def ourselves(cls) -> User:
        try:
            name = pwd.getpwuid(os.geteuid()).pw_name
        except KeyError:  # a container's user without an entry
            name = str(os.geteuid())
        return cls(name, os.geteuid(), os.getegid())


@dataclass(frozen=True, slots=True)
class Programs:
    """`orchestrator` and `agent` get the name of a configuration file appended, `cli` its arguments.

    `python` can be run, and `code` read, by both users.
    """

    python: str
    code: Path
    orchestrator: tuple[str, ...]
    agent: tuple[str, ...]
    cli: tuple[str, ...]
    postgres_bin: Path
    etcd: Path
    etcd_version: str
    named: Path | None
    postgres_user: User
    control_user: User

    @classmethod
    def discover(cls) -> Programs:
        """LookupError says what is missing and where to get it."""
        prepared = Prepared.here()
        found = prepared.binaries
        if found.postgresql is None:
            raise LookupError("no PostgreSQL 15 to 18 found; get it by apt-get install postgresql")
        if found.etcd is None:
            raise LookupError("no etcd found; get it by apt-get install etcd-server")
        python = str(prepared.python)
        return cls(
            python=python,
            code=prepared.code,
            orchestrator=(python, "-m", "orchestrator.main", "--config"),
            agent=(python, "-m", "agents.guard.main", "--config"),
            cli=(python, "-m", "orchestrator.cli.main"),
            postgres_bin=found.postgresql.path,
            etcd=found.etcd.path,
            etcd_version=found.etcd.version,
            named=found.named.path if found.named else None,
            postgres_user=User.named(prepared.account.name),
            control_user=User.named("nobody"),
        )

    @property
    def etcd_warning(self) -> str | None:
        """What people must be told about this etcd, which then runs as a single member."""
        version = tuple(int(part) for part in re.findall(r"\d+", self.etcd_version)[:3])
        lowest, highest = ETCD_THAT_LOSES_WRITES
        if lowest <= version <= highest:
            return (
                f"etcd {self.etcd_version} can lose committed writes when members are killed: only one runs"
            )
        return None
