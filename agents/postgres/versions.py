"""Which PostgreSQL we manage: 15 to 18, from the minor releases of May 2025 on (V13)."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agents.postgres.files import read_text
from common.errors import BadConfig

_OLDEST_MINOR = {15: 13, 16: 9, 17: 5, 18: 0}
_TEXT = re.compile(r"\(PostgreSQL\) (\d+)\.(\d+)")


@dataclass(frozen=True, slots=True)
class ServerVersion:
    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"

    @property
    def number(self) -> int:
        """As server_version_num."""
        return self.major * 10_000 + self.minor


def read_version(bin_directory: Path) -> ServerVersion:
    """Blocking. Raise BadConfig when it can't be found out."""
    program = bin_directory / "postgres"
    try:
        done = subprocess.run(
            [program, "--version"],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
            env={"LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BadConfig([f"postgres.bin_directory {bin_directory}: {error}"]) from error
    found = _TEXT.search(done.stdout)
    if found is None:
        raise BadConfig([f"{program} --version says {done.stdout.strip()!r}: not a release of PostgreSQL"])
    return ServerVersion(int(found[1]), int(found[2]))


def version_mistakes(version: ServerVersion, data_directory: Path, *, untested: bool) -> Iterator[str]:
    there = (read_text(data_directory / "PG_VERSION") or "").strip()
    if there and there != str(version.major):
        yield f"{data_directory} is of PostgreSQL {there}, the programs are {version}: set bin_directory"
    if untested:
        return
    oldest = _OLDEST_MINOR.get(version.major)
    if oldest is None:
        yield f"PostgreSQL {version} is not supported (15 to 18 are); --untested-version overrides this"
    elif version.minor < oldest:
        yield (
            f"PostgreSQL {version} may acknowledge commits that no standby has, right after a start; "
            f"upgrade to {version.major}.{oldest} or later (--untested-version overrides this)"
        )
