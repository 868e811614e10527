"""An environment of our own: an interpreter and the libraries of one lock, readable by everybody.

Three ways lead to one, and a fresh machine rarely has all of them: `uv`, `ensurepip` in the new
environment, or the system's pip told to install into it. Every way checks the lock's hashes.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from deploy.setup import places
from deploy.setup.account import Account, output_as
from deploy.setup.say import SetupProblem, say, step

INSTALL_WITHIN_S = 1200
FOR_ROOT_TO_RUN = "apt-get update && apt-get install -y python3-venv python3-pip"


def missing_package() -> str | None:
    """The system's package without which no environment can be made; None when one can."""
    ways = ("ensurepip", "pip")
    if importlib.util.find_spec("venv") is not None and (
        shutil.which("uv") is not None or any(importlib.util.find_spec(way) is not None for way in ways)
    ):
        return None
    return "python{}.{}-venv".format(*sys.version_info)


def make_environment(lock: Path, *, into: Path, account: Account) -> Path:
    """Make (or find) the environment of this lock; returns its folder. Call with the set-up's lock held."""
    wanted = lock.read_bytes()
    version = "{}.{}".format(*sys.version_info)
    key = hashlib.sha256(wanted + sys._base_executable.encode()).hexdigest()[:12]  # type: ignore[attr-defined]
    folder = into / f"env-{lock.stem}-{version}-{key}"
    python = folder / "bin" / "python"
    if not (
        places.is_complete(folder)
        and output_as(account, [str(python), "-c", "import grpc, psycopg"]) is not None
    ):
        shutil.rmtree(folder, ignore_errors=True)
        count = sum(1 for line in wanted.decode().splitlines() if line[:1].isalnum())
        with step(f"installing {count} libraries into {folder}"):
            _install(lock, folder)
        _open_to_everybody(folder)
        if output_as(account, [str(python), "-c", "import grpc, psycopg"]) is None:
            raise SetupProblem(
                f"{account.name} cannot run {python}: the file system may forbid it (noexec); "
                "set PRIMACY_HOME to a folder that every user can enter and run programs from"
            )
        (folder / places.COMPLETE).touch()
    places.use(folder)
    return folder


def _install(lock: Path, folder: Path) -> None:
    importlib.invalidate_caches()
    if importlib.util.find_spec("venv") is None:
        raise SetupProblem(f"this Python has no venv. Root must run:  {FOR_ROOT_TO_RUN}")
    _run([sys.executable, "-m", "venv", "--without-pip", str(folder)], "making the environment")
    python = str(folder / "bin" / "python")
    hashed = ["--require-hashes", "-r", str(lock)]
    tried: list[str] = []
    uv = shutil.which("uv")
    if uv is not None:
        # uv reads neither pip's configuration nor its mirrors, so its failure is not the last word.
        command = [uv, "pip", "install", "--quiet", "--python", python, "--link-mode", "copy", *hashed]
        if _succeeds(command, tried):
            return
    pip_install = ["install", "--quiet", "--disable-pip-version-check", *hashed]
    if (
        importlib.util.find_spec("ensurepip") is not None
        and _succeeds([python, "-I", "-m", "ensurepip", "--default-pip"], tried)
        and (
            _by_uv_of_the_lock(lock, folder, hashed)
            or _succeeds([python, "-I", "-m", "pip", *pip_install], tried)
        )
    ):
        return
    if importlib.util.find_spec("pip") is not None and _succeeds(
        [
            sys.executable,
            "-m",
            "pip",
            "--python",
            python,
            "install",
            "--quiet",
            "--disable-pip-version-check",
            *hashed,
        ],
        tried,
    ):
        return
    shutil.rmtree(folder, ignore_errors=True)
    if not tried:
        raise SetupProblem(f"neither pip nor uv is to be had. Root must run:  {FOR_ROOT_TO_RUN}")
    raise SetupProblem("the libraries could not be installed; the last attempt said:\n" + tried[-1])


def _by_uv_of_the_lock(lock: Path, folder: Path, hashed: Sequence[str]) -> bool:
    """Where the lock itself holds uv: that alone by pip, the rest by uv, in a fifth of the time."""
    entry = re.search(r"^uv==.*\n(?: .*\n)*", lock.read_text(), flags=re.MULTILINE)
    if entry is None:
        return False
    alone = folder / "uv.txt"
    alone.write_text(entry[0])
    python, uv = str(folder / "bin" / "python"), str(folder / "bin" / "uv")
    by_pip = [
        python,
        "-I",
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--require-hashes",
    ]
    by_uv = [uv, "pip", "install", "--quiet", "--python", python, "--link-mode", "copy", *hashed]
    unused: list[str] = []
    return _succeeds([*by_pip, "-r", str(alone)], unused) and _succeeds(by_uv, unused)


def _succeeds(command: Sequence[str], tried: list[str]) -> bool:
    try:
        _run(command, "installing the libraries")
    except SetupProblem as problem:
        tried.append(str(problem))
        if len(tried) > 1:
            say("that way failed, trying the next one")
        return False
    return True


def _run(command: Sequence[str], what: str) -> None:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=INSTALL_WITHIN_S,
            check=False,
            env=_plain_environment(),
        )
    except (OSError, subprocess.SubprocessError) as problem:
        raise SetupProblem(f"{what}: {problem}") from problem
    if done.returncode != 0:
        raise SetupProblem(
            f"{what} ({' '.join(command[:6])} ...):\n" + "\n".join(done.stdout.splitlines()[-15:])
        )


def _plain_environment() -> dict[str, str]:
    """Without what would make another interpreter's libraries count as installed."""
    left_out = {
        "PYTHONPATH",
        "PYTHONHOME",
        "VIRTUAL_ENV",
        "PIP_TARGET",
        "PIP_PREFIX",
        "PIP_USER",
        "PYTHONDONTWRITEBYTECODE",
    }
    return {name: value for name, value in os.environ.items() if name not in left_out}


def _open_to_everybody(folder: Path) -> None:
    """Installers keep the modes of a cache or of the caller's umask; the unprivileged must read it all."""
    for below, _, names in os.walk(folder):
        os.chmod(below, 0o755)
        for name in names:
            path = Path(below) / name
            if not path.is_symlink():
                mode = path.stat().st_mode
                path.chmod(0o755 if mode & 0o100 else 0o644)
    # Compiled now, because the unprivileged could not keep what they compile.
    subprocess.run(
        [str(folder / "bin" / "python"), "-I", "-m", "compileall", "-q", "-j", "0", str(folder / "lib")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=INSTALL_WITHIN_S,
        check=False,
        env=_plain_environment(),
    )
