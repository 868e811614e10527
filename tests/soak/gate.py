"""Several faults share one lab, each in a thread: one call at a time, and none after the round is over.

Without the end a thread that nobody waits for any more would start a host again in a lab that is being taken down.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

Whatever = TypeVar("Whatever")


class RoundOver(Exception):
    """Nothing may be done any more."""


class Gate:
    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._over = threading.Event()

    def close(self) -> None:
        """Returns once no call is under way; every later one raises RoundOver."""
        self._over.set()
        with self._lock:
            pass

    @property
    def is_closed(self) -> bool:
        return self._over.is_set()

    def pause(self, seconds: float) -> None:
        """Raise RoundOver when the round ends meanwhile."""
        if self._over.wait(seconds):
            raise RoundOver

    @contextmanager
    def alone(self) -> Iterator[None]:
        with self._lock:
            if self._over.is_set():
                raise RoundOver
            yield

    def around(self, thing: Whatever) -> Whatever:
        """The same thing, each of whose methods, and those of the parts it names, comes through here."""
        return cast("Whatever", _Guarded(thing, self))


class _Guarded:
    """Looks like what it stands for."""

    def __init__(self, thing: Any, gate: Gate) -> None:
        self._thing = thing
        self._gate = gate

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._thing, name)
        if callable(found):

            def through(*arguments: Any, **words: Any) -> Any:
                with self._gate.alone():
                    return found(*arguments, **words)

            return through
        is_part = hasattr(found, "__dict__") and type(found).__module__.startswith("deploy.lab")
        return _Guarded(found, self._gate) if is_part else found
