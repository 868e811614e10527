"""What the set-up tells a person: nothing for what is quick, a line for what takes longer."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

QUIET_FOR_S = 2.0
AGAIN_EVERY_S = 15.0


class SetupProblem(Exception):
    """Cannot go on; the text is the one thing that the person must know or do."""


def say(text: str) -> None:
    print(f"primacy: {text}", file=sys.stderr, flush=True)


@contextmanager
def step(what: str) -> Iterator[None]:
    """Print `what` when it takes longer than two seconds, and again while it lasts."""
    began = time.monotonic()
    done = threading.Event()

    def watch() -> None:
        wait_s = QUIET_FOR_S
        while not done.wait(wait_s):
            say(f"{what} ... ({time.monotonic() - began:.0f} s)")
            wait_s = AGAIN_EVERY_S

    watcher = threading.Thread(target=watch, name="progress", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
    took_s = time.monotonic() - began
    if took_s > QUIET_FOR_S:
        say(f"{what}: done in {took_s:.1f} s")
