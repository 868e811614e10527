"""The digests of some small plans, kept: the same trace, byte for byte, on every machine and Python from 3.11 on.

    python -m tests.simulator.digests            what they are, here and now
    python -m tests.simulator.digests --write    keep that: after a change of the simulator or of the cores

The lines of `digests.txt` say which plans they are. A change of anything that takes part in a run changes them; what
must never change them is where they run.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.simulator.plan import read
from tests.simulator.swarm import run

_FOLDER = Path(__file__).parent / "plans"
KEPT = _FOLDER / "digests.txt"


def kept() -> Mapping[str, str]:
    """Plan → digest."""
    return {line.split()[0]: line.split()[1] for line in KEPT.read_text().splitlines()}


def digest_of(plan: str) -> str:
    return run(read((_FOLDER / f"{plan}.plan").read_text())).digest


def main(arguments: Sequence[str]) -> int:
    text = "".join(f"{plan} {digest_of(plan)}\n" for plan in kept())
    if list(arguments) == ["--write"]:
        KEPT.write_text(text)
    print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
