"""Inside a mutant's scratch copy: its story if it names one, then seeds from 1 until a checker speaks or the time
is up; the last line is JSON.

Only a broken invariant of ours counts (`Violation`, `InvariantBroken`, and the simulator's own assertions that
name an invariant). A TypeError or a stray assertion shows that the mutant doesn't run, which proves nothing: the
seed is left out, and counted. The time is the processor's, so that a busy machine hunts as long as a quiet one.
"""

from __future__ import annotations

import json
import re
import sys
import time

from tests.simulator.swarm import run
from tests.stories.telling import what_is_wrong

_COUNTS = re.compile(r"^(?:Violation|InvariantBroken|AssertionError: I\d+)\b")

_CRASHES = (AttributeError, ImportError, LookupError, NameError, RuntimeError, TypeError, ValueError)


def main(seconds: float, first: int, story: str = "") -> int:
    said = what_is_wrong(story) if story else ""
    if said:
        return _say(0, 0, f"story {story}: {said}", time.process_time(), 0, "")
    began, seed, stray = time.process_time(), first, ""
    strays = 0
    while time.process_time() - began < seconds:
        try:
            violation = run(seed).violation
        except _CRASHES as crash:
            violation = f"crash: {type(crash).__name__}: {crash}"
        if _COUNTS.match(violation):
            return _say(seed, seed - first + 1, violation, began, strays, stray)
        if violation:
            strays, stray = strays + 1, violation
        seed += 1
    return _say(0, seed - first, "", began, strays, stray)


def _say(seed: int, seeds: int, violation: str, began: float, strays: int, stray: str) -> int:
    took_s = round(time.process_time() - began, 1)
    said = {"seed": seed, "seeds": seeds, "violation": violation, "took_s": took_s}
    print(json.dumps({**said, "strays": strays, "stray": stray[:300]}))
    return 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:]))
