"""Hears the beats as they reach a control node, beside it: `python -m deploy.detection.listener --help`.

It knows nothing of Primacy but a port. Every datagram that arrives there becomes a line of the journal, `µs address`,
with the moment at which the kernel received it (as CLOCK_MONOTONIC), so that a busy machine does not make it late.
"""

from __future__ import annotations

import argparse
import socket
import struct
import sys
import time
from pathlib import Path
from typing import Final

_SO_TIMESTAMPNS: Final = 35
"""As in asm-generic/socket.h; Python has no name for it."""
_SO_RCVBUFFORCE: Final = 33
_BUFFER_BYTES: Final = 8 * 1024 * 1024
_TIMESPEC: Final = struct.Struct("@ll")
_HEADERS_BYTES: Final = 64
"""The longest header of IPv4 and the ports after it."""


def listen(port: int, journal: Path) -> None:
    """Until it is ended. Raise PermissionError without root."""
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
    raw.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
    raw.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    wall_ahead_ns = time.time_ns() - time.monotonic_ns()
    with journal.open("a", buffering=1) as lines:
        while True:
            data, said, _, source = raw.recvmsg(_HEADERS_BYTES, 128)
            header_bytes = (data[0] & 0x0F) * 4
            if int.from_bytes(data[header_bytes + 2 : header_bytes + 4], "big") != port:
                continue
            for level, kind, value in said:
                if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS):
                    seconds, ns = _TIMESPEC.unpack(value[: _TIMESPEC.size])
                    at_us = (seconds * 1_000_000_000 + ns - wall_ahead_ns) // 1000
                    lines.write(f"{at_us} {source[0]}\n")


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m deploy.detection.listener", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--journal", type=Path, required=True)
    chosen = parser.parse_args(words)
    listen(chosen.port, chosen.journal)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
