"""What people see while the demo runs: a live table of the cluster and, below it, what is happening."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from deploy.lab.witnessed import Status, Witnessed

_REFRESH_S = 0.25


class Screen:
    """Lines are printed above; the table lives at the bottom, where the terminal can show one."""

    def __init__(self, console: Console, *, plain: bool) -> None:
        self._console = console
        self._plain = plain
        self._cluster: Witnessed | None = None
        self._began = time.monotonic()
        self._live = Live(console=console, refresh_per_second=4, transient=True)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._refresh, daemon=True)

    def __enter__(self) -> Self:
        if not self._plain:
            self._live.start()
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        if not self._plain:
            self._live.stop()

    def follow(self, cluster: Witnessed | None) -> None:
        self._cluster = cluster

    def say(self, text: str, style: str = "") -> None:
        elapsed_s = time.monotonic() - self._began
        self._console.print(Text(f"{elapsed_s:7.1f} s  {text}", style=style), soft_wrap=True)

    def block(self, text: str) -> None:
        for line in text.rstrip().splitlines():
            self._console.print(Text(f"           {line}"), soft_wrap=True)

    def table(self, table: Table) -> None:
        self._console.print(table)

    def _refresh(self) -> None:
        while not self._done.wait(_REFRESH_S):
            cluster = self._cluster
            if cluster is not None:
                self._live.update(picture(cluster.watch.newest))


def picture(status: Status | None) -> RenderableType:
    if status is None:
        return Text("waiting for the first status")
    table = Table(
        title=f"{status['cluster']}: {status['phase']}, epoch {status['epoch']}, rule {status['rule']}"
    )
    for column in ("member", "role", "state", "timeline", "position", "writes"):
        table.add_column(column)
    for member in status["members"]:
        age = member["write_age_ms"]
        writes = "" if age is None else f"{member['write_state']}, {age} ms ago"
        style = "bold green" if member["name"] == status["primary"] else ""
        table.add_row(
            member["name"], member["role"], member["activity"] or member["state"], str(member["timeline"]),
            member["position"], writes, style=style,
        )  # fmt: skip
    names = status["names"]
    line = (
        ""
        if names is None
        else f"{names['primary']} → {', '.join(names['addresses']) or 'not published yet'}"
    )
    return Group(table, Text(line))
