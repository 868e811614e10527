"""The copy of the code that unprivileged processes run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from deploy.setup.code_copy import copy_code, files_of

PROJECT = '[project.scripts]\nprimacy = "common.hello:main"\n'


@pytest.fixture
def source(tmp_path: Path) -> Path:
    source = tmp_path / "clone"
    (source / "common").mkdir(parents=True)
    (source / "common/__init__.py").touch()
    (source / "common/hello.py").write_text("def main() -> int:\n    print('hello')\n    return 3\n")
    (source / "pyproject.toml").write_text(PROJECT)
    (source / ".gitignore").write_text("secret.txt\n")
    (source / "secret.txt").write_text("not for everybody")
    source.chmod(0o700)
    return source


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    return home


def in_git(source: Path) -> Path:
    subprocess.run(["git", "init", "-q", str(source)], check=True)
    return source


def test_the_copy_holds_what_git_would_take_and_no_more(source: Path, home: Path) -> None:
    copy = copy_code(in_git(source), into=home, python=Path(sys.executable))
    assert (copy / "common/hello.py").exists()
    assert not (copy / "secret.txt").exists()
    assert not (copy / ".git").exists()


def test_without_git_everything_but_hidden_folders_and_caches_is_copied(source: Path) -> None:
    (source / "common/__pycache__").mkdir()
    (source / "common/__pycache__/x.pyc").touch()
    names = {path.as_posix() for path in files_of(source)}
    assert {"common/hello.py", "pyproject.toml"} <= names
    assert not any("__pycache__" in name for name in names)


def test_everybody_may_read_the_copy_of_a_private_clone(source: Path, home: Path) -> None:
    (source / "common/hello.py").chmod(0o600)
    copy = copy_code(in_git(source), into=home, python=Path(sys.executable))
    assert copy.stat().st_mode & 0o777 == 0o755
    assert (copy / "common/hello.py").stat().st_mode & 0o777 == 0o644


def test_the_same_code_is_copied_once_and_changed_code_anew(source: Path, home: Path) -> None:
    python = Path(sys.executable)
    first = copy_code(in_git(source), into=home, python=python)
    assert copy_code(source, into=home, python=python) == first
    (source / "common/hello.py").write_text("def main() -> int:\n    return 4\n")
    assert copy_code(source, into=home, python=python) != first


def test_the_copy_s_console_script_runs_from_anywhere(source: Path, home: Path) -> None:
    copy = copy_code(in_git(source), into=home, python=Path(sys.executable))
    done = subprocess.run([copy / ".bin/primacy"], cwd="/", capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("hello\n", 3)
