"""A world-readable copy of the code, as it was when the command began.

A clone may lie in a folder that only root can read, while the agents run as `postgres`;
and a demo that runs for an hour must not change when somebody edits the clone.
"""

from __future__ import annotations

import compileall
import hashlib
import os
import shutil
import subprocess
import tempfile
import tomllib
from pathlib import Path

from deploy.setup import places

NOT_CODE = frozenset({"__pycache__", "build", "dist", "node_modules"})
GIT_WITHIN_S = 30
# A clone that belongs to somebody else may be read; git is asked for names only.
GIT = ("git", "-c", "safe.directory=*", "-C")
SCRIPT = """#!{python} -P
import sys

sys.path.insert(0, {code!r})
from {module} import {function}  # noqa: E402

sys.exit({function}())
"""


def files_of(source: Path) -> list[Path]:
    """What git knows, and what it would take up; without git everything but hidden folders and caches."""
    try:
        listed = subprocess.run(
            [*GIT, str(source), "ls-files", "-z", "-co", "--exclude-standard"],
            capture_output=True,
            timeout=GIT_WITHIN_S,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return _files_without_git(source)
    names = sorted(os.fsdecode(name) for name in listed.split(b"\0") if name)
    return [Path(name) for name in dict.fromkeys(names) if (source / name).is_file()]


def commit_of(source: Path) -> str:
    """The commit's short name, with `-dirty` where the work tree differs; `unknown` without git."""
    try:
        return subprocess.run(
            [*GIT, str(source), "describe", "--always", "--dirty", "--abbrev=10"],
            capture_output=True,
            text=True,
            timeout=GIT_WITHIN_S,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def copy_code(source: Path, *, into: Path, python: Path) -> Path:
    """Make (or find) the copy; its `.bin` holds the console scripts, for that interpreter."""
    files = files_of(source)
    folder = into / f"code-{_key(source, files, python)}"
    if not places.is_complete(folder):
        fresh = Path(tempfile.mkdtemp(prefix="making-", dir=into))
        for name in files:
            target = fresh / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, target)
            target.chmod(0o755 if os.access(source / name, os.X_OK) else 0o644)
        _write_scripts(fresh, runs_from=folder, python=python)
        for below, _, _ in os.walk(fresh):
            os.chmod(below, 0o755)
        # The unprivileged could not write these, and would compile everything at every start.
        for package in ("agents", "common", "deploy", "orchestrator", "protos", "tests"):
            if (fresh / package).is_dir():
                compileall.compile_dir(
                    fresh / package, quiet=2, stripdir=str(fresh), prependdir=str(folder), workers=1
                )
        (fresh / places.COMPLETE).touch()
        shutil.rmtree(folder, ignore_errors=True)
        fresh.rename(folder)
    places.use(folder)
    return folder


def _write_scripts(folder: Path, *, runs_from: Path, python: Path) -> None:
    (folder / ".bin").mkdir()
    with (folder / "pyproject.toml").open("rb") as file:
        scripts: dict[str, str] = tomllib.load(file)["project"]["scripts"]
    for name, entry in scripts.items():
        module, function = entry.split(":")
        script = folder / ".bin" / name
        script.write_text(SCRIPT.format(python=python, code=str(runs_from), module=module, function=function))
        script.chmod(0o755)


def _key(source: Path, files: list[Path], python: Path) -> str:
    whole = hashlib.sha256(str(python).encode())
    for name in files:
        content = (source / name).read_bytes()
        whole.update(f"\0{name}\0{os.access(source / name, os.X_OK)}\0{len(content)}\0".encode())
        whole.update(content)
    return whole.hexdigest()[:12]


def _files_without_git(source: Path) -> list[Path]:
    found: list[Path] = []
    for below, folders, names in os.walk(source):
        folders[:] = sorted(name for name in folders if _is_code(name, top=Path(below) == source))
        here = Path(below).relative_to(source)
        found += [here / name for name in sorted(names) if not name.endswith(".pyc")]
    return found


def _is_code(folder: str, *, top: bool) -> bool:
    if folder.startswith("."):
        return top and folder == ".ci"
    return folder not in NOT_CODE and not folder.endswith(".egg-info")
