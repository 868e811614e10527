"""Generate the Python stubs of protos/*.proto, or (`--check`) say which differ from what is committed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from deploy.setup import places

KINDS = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py")


def generate(root: Path, *, into: Path) -> None:
    """Paths are relative to the root, so that the stubs import each other as `from protos import ...`."""
    protos = sorted(path.relative_to(root).as_posix() for path in (root / "protos").glob("*.proto"))
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I."]
    command += [f"--{kind}={into}" for kind in ("python_out", "pyi_out", "grpc_python_out")]
    subprocess.run([*command, *protos], cwd=root, check=True, timeout=120)


def differing(root: Path) -> list[str]:
    """The stubs that are missing, superfluous or different."""
    with tempfile.TemporaryDirectory(prefix="primacy-stubs-") as folder:
        generate(root, into=Path(folder))
        fresh, kept = _stubs(Path(folder) / "protos"), _stubs(root / "protos")
    return sorted(name for name in fresh.keys() | kept.keys() if fresh.get(name) != kept.get(name))


def _stubs(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name.endswith(KINDS)}


def main() -> int:
    root = places.source_root()
    if "--check" not in sys.argv[1:]:
        with tempfile.TemporaryDirectory(prefix="primacy-stubs-") as folder:
            generate(root, into=Path(folder))
            for stale in _stubs(root / "protos"):
                (root / "protos" / stale).unlink()
            for path in (Path(folder) / "protos").iterdir():
                shutil.copyfile(path, root / "protos" / path.name)
        return 0
    wrong = differing(root)
    for name in wrong:
        print(f"protos/{name} is not what the .proto says: run `make protos`")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
