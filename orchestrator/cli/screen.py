"""Where things are printed: answers to stdout, everything about the way there to stderr.

Works the same in a pipe, in a file and on a dumb terminal; with `--json` stdout carries nothing else.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from common.clock import BootClock
from common.timebase import Instant, elapsed_ms
from orchestrator.cli.words import duration, plain

PIPE_WIDTH = 120
"""Lines in a file or a pipe are for `grep`: better long than broken."""
SAID_AFTER_S = 2.0


class Screen:
    def __init__(self, *, as_json: bool = False) -> None:
        self._as_json = as_json
        for stream in (sys.stdout, sys.stderr):
            reconfigure = getattr(stream, "reconfigure", None)
            if reconfigure is not None:
                reconfigure(errors="replace")  # a terminal that can't show `±` shows `?`, and goes on
        self.out = _console(stderr=False)
        self.err = _console(stderr=True)
        self._live: Live | None = None

    @property
    def interactive(self) -> bool:
        return self.out.is_terminal and not self.out.is_dumb_terminal

    def say(self, what: RenderableType) -> None:
        if self.out.is_terminal:
            self.out.print(what)
            return
        # Nobody wants the spaces that fill up a table's cells in a file.
        with self.out.capture() as captured:
            self.out.print(what)
        for line in captured.get().splitlines():
            print(line.rstrip())
        sys.stdout.flush()

    def json(self, document: bytes | str) -> None:
        """At once, also into a pipe: somebody reads it line by line."""
        print(document.decode() if isinstance(document, bytes) else document, flush=True)

    def note(self, text: str, style: str = "dim") -> None:
        """On stderr; above the spinner where one turns. Never folded, so that paths can be copied."""
        console = self.err if self._live is None else self.out
        console.print(Text(plain(text), style=style), soft_wrap=True)

    @contextmanager
    def waiting(self, text: str) -> Iterator[Waiting]:
        """A spinner on a terminal; else, also in `primacy … | tee`, a line on stderr after two seconds, and
        again after twice that."""
        waiting = Waiting(text, BootClock())
        if not self.interactive or self._as_json:
            timer = _Lines(self, waiting)
            try:
                yield waiting
            finally:
                timer.stop()
            return
        self._live = Live(_Turning(waiting), console=self.out, transient=True, refresh_per_second=10)
        try:
            with self._live:
                yield waiting
        finally:
            self._live = None


class Waiting:
    """What is waited for, and since when."""

    def __init__(self, text: str, clock: BootClock) -> None:
        self.text = text
        self._clock = clock
        self.since: Instant = clock.now()
        self._said_at = self.since

    def now(self, text: str) -> None:
        """From now on for this; a step was printed."""
        self.text, self._said_at = text, self._clock.now()

    def still(self, text: str) -> None:
        """The same as before, in newer words."""
        self.text = text

    @property
    def quiet_ms(self) -> int:
        """Since something was printed."""
        return elapsed_ms(since=self._said_at, now=self._clock.now())

    @property
    def elapsed_ms(self) -> int:
        return elapsed_ms(since=self.since, now=self._clock.now())


class _Lines:
    """Signs of life for whoever reads stderr as lines."""

    def __init__(self, screen: Screen, waiting: Waiting) -> None:
        self._screen, self._waiting = screen, waiting
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(SAID_AFTER_S, self._look, SAID_AFTER_S)

    def stop(self) -> None:
        self._timer.cancel()

    def _look(self, after_s: float) -> None:
        remaining_s = after_s - self._waiting.quiet_ms / 1000
        if remaining_s <= 0:
            self._screen.note(f"{self._waiting.text} ({duration(self._waiting.elapsed_ms)})")
            remaining_s, after_s = after_s, after_s * 2
        self._timer = self._loop.call_later(remaining_s, self._look, after_s)


class _Turning:
    """The spinner's line, composed anew at each refresh."""

    def __init__(self, waiting: Waiting) -> None:
        self._waiting = waiting
        self._spinner = Spinner("line", style="cyan")

    def __rich__(self) -> RenderableType:
        waited_ms = self._waiting.elapsed_ms
        text = Text(self._waiting.text, style="dim", overflow="ellipsis", no_wrap=True)
        text.append(f"  {duration(waited_ms // 100 * 100)}")
        self._spinner.update(text=text)
        return self._spinner


def _console(*, stderr: bool) -> Console:
    """Without markup, highlighting and emoji: what servers say is printed as they said it."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH
    return Console(stderr=stderr, width=width, markup=False, highlight=False, emoji=False, soft_wrap=False)
