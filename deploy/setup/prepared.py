"""What the set-up prepared, told to whom comes after it in variables.

`Prepared.here()` is what the demo, the bench and the tests ask. Outside `make` (somebody runs
pytest in his clone) it prepares on the spot what is not usable by the unprivileged.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from deploy.setup import code_copy, environment, places, system_packages
from deploy.setup.account import Account, output_as, unprivileged_account
from deploy.setup.binaries import Binaries, find_binaries
from deploy.setup.say import SetupProblem, say


@dataclass(frozen=True, slots=True)
class Prepared:
    """`python` with `code` on its path is what unprivileged processes run; `source` is the person's clone."""

    python: Path
    code: Path
    source: Path
    home: Path
    account: Account
    binaries: Binaries

    @classmethod
    def here(cls) -> Prepared:
        if "PRIMACY_PYTHON" not in os.environ:
            return cls._outside_make()
        python = Path(os.environ["PRIMACY_PYTHON"])
        account = unprivileged_account()
        return cls(
            python=python,
            code=Path(os.environ["PRIMACY_CODE"]),
            source=Path(os.environ["PRIMACY_SOURCE"]),
            home=Path(os.environ["PRIMACY_HOME"]),
            account=account,
            binaries=find_binaries(environment=python.parent.parent, account=account),
        )

    @classmethod
    def _outside_make(cls) -> Prepared:
        source, account = places.source_root(), unprivileged_account()
        python = Path(sys.executable)
        read = [
            str(python),
            "-c",
            "import sys; open(sys.argv[1]); import grpc",
            str(source / "pyproject.toml"),
        ]
        if output_as(account, read) is None:
            return prepare("dev")
        binaries = find_binaries(environment=python.parent.parent, account=account)
        return cls(python, source, source, places.home(), account, binaries)

    def environment(self) -> dict[str, str]:
        """Variables for the command that follows, and for what it starts."""
        folders = [
            str(self.code / ".bin"),
            str(self.python.parent),
            os.environ.get("PATH", ""),
            "/usr/sbin:/sbin",
        ]
        pgbin = self.binaries.postgresql
        return {
            "PATH": os.pathsep.join(part for part in folders if part),
            "VIRTUAL_ENV": str(self.python.parent.parent),
            "PYTHONPATH": str(self.code),
            "PRIMACY_PYTHON": str(self.python),
            "PRIMACY_CODE": str(self.code),
            "PRIMACY_SOURCE": str(self.source),
            "PRIMACY_HOME": str(self.home),
            "PRIMACY_COMMIT": code_copy.commit_of(self.source),
            "MYPY_CACHE_DIR": str(self.home / "cache" / "mypy"),
            "RUFF_CACHE_DIR": str(self.home / "cache" / "ruff"),
            "HYPOTHESIS_STORAGE_DIRECTORY": str(self.home / "cache" / "hypothesis"),
            **({"PRIMACY_POSTGRES_BIN": str(pgbin.path)} if pgbin is not None else {}),
            **self.binaries.environment(),
        }


def prepare(lock_name: str) -> Prepared:
    """Environment, copy of the code, binaries; as root also the system's packages that are missing."""
    os.umask(0o022)
    source, home, account = places.source_root(), places.home(), unprivileged_account()
    lock = source / "requirements" / f"{lock_name}.txt"
    if not lock.is_file():
        known = ", ".join(sorted(path.stem for path in lock.parent.glob("*.txt")))
        raise SetupProblem(f"there is no lock {lock_name}; there are: {known}")
    system_packages.tidy_up_after_a_killed_run()
    no_environment = environment.missing_package()
    missing = find_binaries(account=account).missing_packages()
    if no_environment is not None:
        missing = (no_environment, *missing)
    if missing and system_packages.can_install():
        try:
            system_packages.install(missing, log=home / "apt.log")
        except SetupProblem as problem:
            say(f"going on without {', '.join(missing)}: {problem}")
    with places.locked(home / "setup.lock"):
        (home / "cache").mkdir(exist_ok=True)
        folder = environment.make_environment(lock, into=home, account=account)
        python = folder / "bin" / "python"
        code = code_copy.copy_code(source, into=home, python=python)
        places.remove_unused(home, prefix="code-", keep_count=6)
        places.remove_unused(home, prefix="env-", keep_count=6)
        places.remove_unused(home, prefix="making-", keep_count=0)
    return Prepared(python, code, source, home, account, find_binaries(environment=folder, account=account))
