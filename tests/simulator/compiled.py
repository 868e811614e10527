"""`python -m tests.simulator --compiled ...`: the same, with cores and model as machine code.

mypyc makes an extension module of each module that takes part in a run, once, in a folder that is named after their
sources; Structs and frozen dataclasses are spelled out for it first (tests/simulator/native.py). Modules with children
of built-in classes are left as they are: mypyc can't take them; recipes too, since they are driven by throw() and
close(). Traces are the same byte for byte. Where mypy, a C compiler or Python's headers are missing it runs uncompiled,
and says so.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.abc
import importlib.machinery
import importlib.metadata
import importlib.util
import os
import runpy
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

from tests.simulator.native import known as known_values
from tests.simulator.native import spelled_out

ROOT = Path(__file__).resolve().parents[2]
_BEGINS = "tests/simulator/swarm.py"
_PLACE = Path(os.environ.get("PRIMACY_HOME", f"/var/tmp/primacy-{os.geteuid()}")) / "cache"
_OURS = ("agents", "common", "orchestrator", "tests")
_NOT_COMPILED = frozenset({"common/datagram.py", "common/errors.py"})
"""A run makes no datagram; errors are children of Exception, and do nothing."""
AS_IT_IS = _NOT_COMPILED | {
    "orchestrator/core/spec.py",
    "tests/simulator/plan.py",
    "tests/simulator/scene.py",
    "tests/simulator/swarm.py",
}
"""No value of these is spelled out: theirs are changed by `dataclasses.replace`, also by who is never compiled."""
_UNFIT = frozenset({"int", "random.Random"})
"""Base classes that mypyc has no native children of."""
_DRIVEN = ("Recipe[", "Generator[")
"""What is driven by throw() and close(): a compiled `yield from` closed while it delegates may raise an exception that
was handled long before, in place of GeneratorExit."""
_BUILD = """\
import sys
from mypyc.build import mypycify
from setuptools import setup
options = ["--explicit-package-bases", "--no-incremental"]
extensions = mypycify([*options, *sys.argv[2:]], opt_level="1", debug_level="0", multi_file=True, target_dir=sys.argv[1])
setup(
    name="compiled",
    packages=[],
    ext_modules=extensions,
    script_args=["-q", "build_ext", "--build-lib", sys.argv[1], "--build-temp", sys.argv[1] + "/objects"],
)
"""
_BUILDS_WITHIN_S = 1_800.0


class NotBuilt(Exception):
    """Why there is nothing compiled."""


class Found(importlib.abc.MetaPathFinder):
    """What was built stands in for the source; everything else is found where it always is."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._suffix = sysconfig.get_config_var("EXT_SUFFIX")

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        for suffix in (self._suffix, ".py"):
            built = self._folder / (fullname.replace(".", "/") + suffix)
            if built.exists():
                return importlib.util.spec_from_file_location(fullname, built)
        return None


def sources() -> dict[str, bool]:
    """Every module of ours that takes part in a run, as a path below the root → whether it is compiled."""
    seen: dict[str, bool] = {}
    waiting = [_BEGINS]
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        tree = ast.parse((ROOT / path).read_text())
        seen[path] = path not in _NOT_COMPILED and not any(_is_unfit(node) for node in ast.walk(tree))
        waiting += _imported(tree)
    return dict(sorted(seen.items()))


def _is_unfit(node: ast.AST) -> bool:
    if isinstance(node, ast.FunctionDef) and node.returns is not None:
        return ast.unparse(node.returns).startswith(_DRIVEN)
    return isinstance(node, ast.ClassDef) and any(ast.unparse(base) in _UNFIT for base in node.bases)


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in _OURS:
            names = [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
            for name in names:
                path = name.replace(".", "/") + ".py"
                if (ROOT / path).exists():
                    yield path


def texts(paths: Iterable[str]) -> dict[str, str]:
    """What each module is for the compiler, and for those who are not compiled beside it."""
    read = {path: (ROOT / path).read_text() for path in paths}
    values = known_values(read, AS_IT_IS)
    return {
        path: text if path in AS_IT_IS else spelled_out(path, text, values) for path, text in read.items()
    }


def _key(given: Mapping[str, str]) -> str:
    """Also of what is not compiled: the others rely on its types."""
    mypy = importlib.metadata.version("mypy")
    digest = hashlib.blake2b(f"{sys.version} {sys.platform} {mypy} {_BUILD}".encode(), digest_size=8)
    for path, text in given.items():
        digest.update(f"{path} {hashlib.blake2b(text.encode()).hexdigest()}".encode())
    return digest.hexdigest()


def built() -> Path | None:
    """The folder with the extension modules; None, and why is said, where they can't be built."""
    known = sources()
    given = texts(known)
    try:
        ready = _PLACE / f"compiled-simulator-{_key(given)}"
        if not ready.exists():
            _build(given, [path for path, fits in known.items() if fits], ready)
    except (OSError, subprocess.TimeoutExpired, importlib.metadata.PackageNotFoundError, NotBuilt) as error:
        print(f"runs uncompiled: {error}", flush=True)
        return None
    return ready


def _write(given: Mapping[str, str], folder: Path) -> None:
    for path, text in given.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        for parent in Path(path).parents[:-1]:
            package = folder / parent / "__init__.py"
            if not package.exists() and (ROOT / parent / "__init__.py").exists():
                package.write_text((ROOT / parent / "__init__.py").read_text())


def _build(given: Mapping[str, str], paths: Sequence[str], ready: Path) -> None:
    print(f"compiling {len(paths)} modules, once; it takes some minutes", flush=True)
    _PLACE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="compiling-", dir=_PLACE) as work:
        folder = Path(work)
        _write(given, folder / "sources")
        done = subprocess.run(
            [sys.executable, "-c", _BUILD, work, *paths],
            cwd=folder / "sources",
            env=os.environ | {"MYPY_CACHE_DIR": str(folder / "mypy")},
            capture_output=True,
            text=True,
            check=False,
            timeout=_BUILDS_WITHIN_S,
        )
        if done.returncode:
            said = (done.stdout + done.stderr).strip().splitlines() or [f"exit code {done.returncode}"]
            raise NotBuilt(next((line for line in said if "rror: " in line), said[-1]))
        new = folder / "new"
        for built_file in sorted(folder.rglob(f"*{sysconfig.get_config_var('EXT_SUFFIX')}")):
            target = new / built_file.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            built_file.rename(target)
        for path in given.keys() - set(paths):
            if given[path] != (ROOT / path).read_text():  # not compiled, but it has to do with values
                (new / path).write_text(given[path])
        if not ready.exists():  # another process may have been faster
            new.rename(ready)


def use() -> bool:
    """From now on the compiled modules are imported; whether there are any."""
    folder = built()
    if folder is not None:
        sys.meta_path.insert(0, Found(folder))
    return folder is not None


if __name__ == "__main__":  # python -m tests.simulator.compiled MODULE ARGUMENTS...
    use()
    module, sys.argv[:] = sys.argv[1], sys.argv[1:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
