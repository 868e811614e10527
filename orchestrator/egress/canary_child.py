"""The process of one canary (`canary_process` begins it): an order from stdin, a line to stdout for each outcome."""

from __future__ import annotations

import asyncio
import sys

from common.clock import BootClock
from common.codec import decode, encode
from common.resilience import Caller
from common.timebase import Instant
from orchestrator.egress.canary_process import TEXT_MAX, Line, Order
from orchestrator.egress.canary_writer import CanaryWriter
from orchestrator.egress.pulse import Pulse


class Mouth:
    """The ear of the writer, which says it on."""

    def acknowledged(self, at: Instant, begun_at: Instant, stalled_us: int) -> None:
        _say(Line(at, stalled_us, begun_at))

    def failed(self, what: str, outcome: str, turned_away_at: Instant, text: str, stalled_us: int) -> None:
        _say(Line(turned_away_at, stalled_us, what=what, outcome=outcome, text=text[:TEXT_MAX]))


def _say(line: Line) -> None:
    """A leader that does not read for long makes this wait; the pulse counts it."""
    sys.stdout.buffer.write(encode(line) + b"\n")
    sys.stdout.buffer.flush()


async def write(order: Order) -> None:
    """Until stdin ends."""
    clock = BootClock()
    pulse = Pulse(clock)
    writer = CanaryWriter(
        clock,
        Caller(clock),
        pulse,
        user=order.user,
        password=order.password,
        name_servers={order.target.zone: order.name_servers},
    )
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer
    )
    async with asyncio.TaskGroup() as group:
        works = [group.create_task(pulse.run()), group.create_task(writer.run(order.target, Mouth()))]
        await reader.read()
        for work in works:
            work.cancel()


def main() -> None:
    line = sys.stdin.buffer.readline()
    if not line:
        return
    try:
        asyncio.run(write(decode(line, Order)))
    except BrokenPipeError:
        sys.exit(0)  # nobody listens any more


if __name__ == "__main__":
    main()
