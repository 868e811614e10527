"""`python -m deploy.scale.flock FILE`: the beats of thousands of members, from one process and one socket.

Sealed as `common.datagram` does it: each member has its key, its boot id and its own sequence; the log grows. That
the quick way of sealing here writes the same bytes is checked before the first one is sent. Every acknowledgement
is taken from the socket; of each 32nd the seal is checked and the round trip measured. An empty line on the standard
input is answered with the counts since the one before; one that names a cluster ends the beats of all before it, whose
members are played by whole agents from now on. Its end, or the time limit, ends this process.
"""

from __future__ import annotations

import hashlib
import json
import random
import secrets
import select
import socket
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from struct import Struct
from typing import Any, Final

from common.assignment import Version
from common.clock import BootClock
from common.datagram import AckFrame, BeatFrame, Flags, Header, member_id, member_key, open_frame, seal
from common.facts import PostgresState, WriteState
from common.ids import IncarnationId
from common.lsn import Lsn
from deploy.scale.crowd import BEGIN, SYSTEM_IDENTIFIER

SLOTS: Final = 1_000
"""Of a second: everybody has one, primaries have one in each quarter."""
PRIMARY_HZ: Final = 4
CHECKED_OF: Final = 32
GENERATION: Final = 1
LIVES_AT_MOST_S: Final = 1_800
_NUMBERS = Struct(">QQ")
_NUMBERS_AT: Final = 24  # sequence and sent, in the header
_LSNS = Struct(">QQQ")
_LSNS_AT: Final = 40 + 40  # in the beat's body
_TAG_BYTES: Final = 16
_GROWS_BYTES: Final = 0x2000


@dataclass(slots=True)
class Bird:
    cluster: str
    key: bytes
    frame: bytearray
    """Header and body; the tag is added."""
    sequence: int = 0
    lsn: int = BEGIN


@dataclass(slots=True)
class Counts:
    sent: int = 0
    not_sent: int = 0
    acknowledged: int = 0
    granted: int = 0
    bad: int = 0
    late_us_max: int = 0
    round_trips_us: list[int] = field(default_factory=list)


class Flock:
    def __init__(self, plan: dict[str, Any]) -> None:
        self._clock = BootClock()
        self._target = (plan["address"], plan["port"])
        secret = bytes.fromhex(plan["secret"])
        self._keys: dict[int, bytes] = {}
        self.slots: list[list[Bird]] = [[] for _ in range(SLOTS)]
        self.counts = Counts()
        drawn = random.Random(plan["seed"])
        for cluster, member, incarnation, is_primary, revision in plan["members"]:
            bird = self._bird(secret, cluster, member, incarnation, is_primary, revision)
            every = SLOTS // PRIMARY_HZ if is_primary else SLOTS
            for slot in range(drawn.randrange(every), SLOTS, every):
                self.slots[slot].append(bird)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        self._socket.setblocking(False)
        self._socket.bind((plan["address"], 0))

    def close(self) -> None:
        self._socket.close()

    def run(self) -> None:
        started, slot = time.monotonic(), 0
        while time.monotonic() - started < LIVES_AT_MOST_S:
            due = started + slot / SLOTS
            wait_s = due - time.monotonic()
            if wait_s > 0:
                self._drain()
                readable, _, _ = select.select([sys.stdin], [], [], max(0.0, due - time.monotonic()))
                if readable and not self._answer():
                    return
            else:
                self.counts.late_us_max = max(self.counts.late_us_max, int(-wait_s * 1_000_000))
            for bird in self.slots[slot % SLOTS]:
                self._send(bird)
            slot += 1
            if slot % 16 == 0:
                self._drain()

    def _send(self, bird: Bird) -> None:
        bird.sequence += 1
        bird.lsn += _GROWS_BYTES
        data = sealed_again(bird, self._clock.now())
        try:
            self._socket.sendto(data, self._target)
            self.counts.sent += 1
        except OSError:
            self.counts.not_sent += 1

    def _drain(self) -> None:
        counts, receive = self.counts, self._socket.recv
        while True:
            try:
                data = receive(600)
            except OSError:
                return
            counts.acknowledged += 1
            if counts.acknowledged % CHECKED_OF == 0:
                self._check(data)

    def _check(self, data: bytes) -> None:
        ack = open_frame(data, lambda member, _generation: self._keys.get(member))
        if not isinstance(ack, AckFrame):
            self.counts.bad += 1
            return
        self.counts.granted += ack.lease_ms > 0
        self.counts.round_trips_us.append(self._clock.now() - ack.header.sent_us)

    def leave(self, first_that_stays: str) -> None:
        for slot in self.slots:
            slot[:] = [bird for bird in slot if bird.cluster >= first_that_stays]

    def _answer(self) -> bool:
        line = sys.stdin.readline()
        if line.strip():
            self.leave(line.strip())
            return True
        if not line:
            return False
        counts, self.counts = self.counts, Counts()
        trips = sorted(counts.round_trips_us) or [0]
        said = {
            "sent": counts.sent,
            "not_sent": counts.not_sent,
            "acknowledged": counts.acknowledged,
            "checked": len(counts.round_trips_us),
            "granted": counts.granted,
            "bad": counts.bad,
            "late_ms_max": counts.late_us_max / 1000,
            "round_trip_ms": {
                name: trips[min(len(trips) - 1, len(trips) * permille // 1000)] / 1000
                for name, permille in (("p50", 500), ("p99", 990), ("p999", 999), ("max", 1000))
            },
        }
        print(json.dumps(said), flush=True)
        return True

    def _bird(
        self, secret: bytes, cluster: str, member: str, incarnation: str, is_primary: bool, revision: int
    ) -> Bird:
        key = member_key(secret, cluster, member, GENERATION)
        numbered = member_id(cluster, member)
        self._keys[numbered] = key
        frame = BeatFrame(
            header=Header(numbered, GENERATION, secrets.randbits(64), 1, 0),
            obeyed=Version(1, revision),
            incarnation=IncarnationId(incarnation),
            system_identifier=SYSTEM_IDENTIFIER,
            flags=Flags(
                postgres=PostgresState.PRIMARY if is_primary else PostgresState.STANDBY,
                write_state=WriteState.ACKNOWLEDGED if is_primary else WriteState.NONE,
                postmaster_alive=True,
                receiver_alive=not is_primary,
                open=True,
            ),
            timeline=1,
            flushed_lsn=Lsn(BEGIN),
            replayed_lsn=Lsn(BEGIN),
            insert_lsn=Lsn(BEGIN),
            voter_reply_age_ms=10 if is_primary else None,
            write_age_ms=150 if is_primary else None,
            received_age_ms=None if is_primary else 20,
            free_mib=100_000,
        )
        wanted = seal(key, frame)
        bird = Bird(cluster, key, bytearray(wanted[:-_TAG_BYTES]), sequence=1)
        if sealed_again(bird, 0) != wanted:
            raise AssertionError("the quick seal differs from that of common.datagram")
        return bird


def sealed_again(bird: Bird, now_us: int) -> bytes:
    """The bird's next datagram: its numbers and its log's end in place, and the tag over it all."""
    _NUMBERS.pack_into(bird.frame, _NUMBERS_AT, bird.sequence, now_us)
    _LSNS.pack_into(bird.frame, _LSNS_AT, bird.lsn, bird.lsn, bird.lsn)
    tag = hashlib.blake2b(bird.frame, key=bird.key, digest_size=_TAG_BYTES).digest()
    return bytes(bird.frame) + tag


if __name__ == "__main__":
    Flock(json.loads(Path(sys.argv[1]).read_text())).run()
