"""`python -m tests.simulator.sample SOAK.json [--seeds N]`: some seeds of a soak again, as the sources say.

A soak with `--compiled` runs what mypyc made of the sources, and mypyc can be wrong. It keeps the digest of the first
seed of each hundred; here they are run from the sources, at the soak's commit, and each trace must be the same byte
for byte.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.simulator.swarm import run


def differing(digests: Mapping[int, str]) -> list[int]:
    """The seeds whose trace is another one here."""
    return [seed for seed, digest in digests.items() if run(seed).digest != digest]


def chosen(soak: Mapping[str, object], seeds_max: int) -> dict[int, str]:
    """Seed → digest, evenly from the whole soak. Raises SystemExit where it kept none."""
    kept = soak.get("digests")
    if not isinstance(kept, dict) or not kept:
        raise SystemExit("digests: this soak kept none; run it again with the present code")
    every = max(1, -(-len(kept) // seeds_max))
    return {int(seed): str(digest) for seed, digest in list(kept.items())[::every]}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulator.sample", description=__doc__)
    parser.add_argument("soak", type=Path, metavar="SOAK.json", help="what a soak wrote with --json")
    parser.add_argument("--seeds", type=int, default=200, help="how many at the most (default: 200)")
    options = parser.parse_args()
    soak = json.loads(options.soak.read_text())
    digests = chosen(soak, options.seeds)
    different = differing(digests)
    print(
        f"{len(digests)} seeds of {soak['commit']} run from the sources: {len(different)} differ {different or ''}"
    )
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
