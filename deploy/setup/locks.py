"""Write requirements/*.txt anew: every version and hash, no address, no path.

`make locks`. All are valid for Python 3.11 and later on every platform, and agree with each
other, because `dev` holds everything and is resolved first.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from deploy.setup import places

# Lock -> the extras that it holds.
LOCKS: dict[str, tuple[str, ...]] = {
    "dev": ("dev",),
    "agent": (),
    "orchestrator": ("orchestrator",),
    "cli": ("cli",),
    "demo": ("demo",),
    "dns": ("orchestrator", "dns"),
    "majors": ("majors",),
}


def write_locks(root: Path) -> None:
    folder = root / "requirements"
    folder.mkdir(exist_ok=True)
    for name, extras in LOCKS.items():
        command = [
            "uv",
            "pip",
            "compile",
            "--quiet",
            "--universal",
            "--python-version",
            "3.11",
            "--generate-hashes",
            "--no-header",
            "--no-emit-index-url",
            "--no-annotate",
            "--upgrade",
            "pyproject.toml",
            *(part for extra in extras for part in ("--extra", extra)),
            *(() if name == "dev" else ("--constraint", "requirements/dev.txt")),
            "--output-file",
            f"requirements/{name}.txt",
        ]
        subprocess.run(command, cwd=root, check=True, timeout=600, stdout=subprocess.DEVNULL)
        print(f"requirements/{name}.txt")


if __name__ == "__main__":
    write_locks(places.source_root())
    sys.exit(0)
