"""A cable that takes its time: carries frames between two interfaces, each one a while later. There is no netem.

    python -m deploy.lab.slow_cable IFACE IFACE --delay-ms 50

Runs inside the network namespace that has both interfaces. Frames travel with the kernel's own header about
checksums and segments (PACKET_VNET_HDR), because between two ends of a veth neither is worked out yet. The
order is kept. What does not fit into the queue is lost, as on any cable.
"""

from __future__ import annotations

import argparse
import select
import signal
import socket
import sys
import time
from collections import deque
from types import FrameType

SOL_PACKET = 263
PACKET_VNET_HDR = 15
PACKET_IGNORE_OUTGOING = 23
ETH_P_ALL = 0x0003
LONGEST_FRAME = 65_536 + 64
QUEUE_FRAMES_MAX = 20_000


def end_of_cable(interface: str) -> socket.socket:
    end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    end.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    end.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    end.bind((interface, 0))
    end.setblocking(False)
    return end


def carry(one: socket.socket, other: socket.socket, delay_us: int) -> None:
    """Until a signal ends the process."""
    across = {one.fileno(): (one, other), other.fileno(): (other, one)}
    waiting: deque[tuple[int, socket.socket, bytes]] = deque()
    poll = select.poll()
    for descriptor in across:
        poll.register(descriptor, select.POLLIN)
    while True:
        left_ms = None if not waiting else max(waiting[0][0] - _now_us(), 0) / 1000
        for descriptor, _ in poll.poll(left_ms):
            source, target = across[descriptor]
            while len(waiting) < QUEUE_FRAMES_MAX and (frame := _received(source)):
                waiting.append((_now_us() + delay_us, target, frame))
        while waiting and waiting[0][0] <= _now_us():
            _, target, frame = waiting.popleft()
            _send(target, frame)


def _received(source: socket.socket) -> bytes:
    try:
        return source.recv(LONGEST_FRAME)
    except OSError:  # nothing more, or the interface goes up or down
        return b""


def _send(target: socket.socket, frame: bytes) -> None:
    try:
        target.send(frame)
    except OSError:  # the other end is down: a frame is lost
        return


def _now_us() -> int:
    return time.monotonic_ns() // 1000


def _end(number: int, frame: FrameType | None) -> None:
    sys.exit(0)


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m deploy.lab.slow_cable", description=__doc__.split("\n")[0]
    )
    parser.add_argument("interfaces", nargs=2)
    parser.add_argument("--delay-ms", type=int, required=True)
    chosen = parser.parse_args(words)
    signal.signal(signal.SIGTERM, _end)
    one, other = (end_of_cable(interface) for interface in chosen.interfaces)
    with one, other:
        print("carrying", flush=True)
        carry(one, other, chosen.delay_ms * 1000)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
