"""Beats over UDP: what is heard, what is dropped and counted, and what is acknowledged."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from msgspec import structs

from common.datagram import (
    AckFrame,
    BeatFrame,
    Header,
    RelayFrame,
    member_id,
    member_key,
    open_frame,
    seal,
)
from common.ids import ClusterName, MemberName
from common.timebase import Instant, before_ms
from orchestrator.core.decision import Grant
from orchestrator.core.events import BeatHeard, BeatRelayed
from orchestrator.ingress.heard import SPOKEN_FOR_MS, Heard
from orchestrator.ingress.heartbeat_udp import RELAYS_NEEDLESS_MS, Acknowledgement, HeartbeatUdp
from orchestrator.shell.leases import Leases, Proof
from tests.orchestrator.beats import frame, sealed_under
from tests.orchestrator.control_node import SECRET
from tests.orchestrator.fakes import SHOP, HandClock

KEY = member_key(SECRET, "shop", "a", 1)


@dataclass
class Post:
    """The receiver between a socket of the test and lists."""

    address: tuple[str, int]
    clock: HandClock
    leases: Leases
    agent: socket.socket
    proof_sent_at: list[Instant]
    heard: list[tuple[ClusterName, BeatHeard | BeatRelayed]] = field(default_factory=list)
    counted: Counter[str] = field(default_factory=Counter)

    async def send(self, data: bytes) -> None:
        """Return once it was dealt with."""
        before = self.counted.total()
        self.agent.sendto(data, self.address)
        async with asyncio.timeout(5):
            while self.counted.total() == before:
                await asyncio.sleep(0.001)

    async def acknowledged(self, beat: BeatFrame) -> AckFrame:
        await self.send(sealed_under(beat))
        data = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.agent, 1024), 5)
        ack = open_frame(data, lambda _id, _generation: KEY)
        assert isinstance(ack, AckFrame)
        return ack


@asynccontextmanager
async def post() -> AsyncIterator[Post]:
    clock = HandClock()
    proof_sent_at = [clock.now()]
    leases = Leases(clock, lambda: Proof(4, proof_sent_at[-1]) if proof_sent_at else None)
    known = Heard(clock, SECRET)
    other = ClusterName("other")
    known.set_members(
        [(SHOP, MemberName("a"), ["127.0.0.9"]), (SHOP, MemberName("b"), []), (other, MemberName("b"), [])]
    )
    agent = socket.socket(type=socket.SOCK_DGRAM)
    agent.setblocking(False)
    agent.bind(("127.0.0.1", 0))

    def acknowledge(cluster: ClusterName, member: MemberName, epoch: int) -> Acknowledgement:
        grant = leases.for_beat(cluster, member, epoch)
        if grant is None:
            return Acknowledgement("control1", 4)
        return Acknowledgement("control1", 4, grant.epoch, grant.lease_ms)

    made = Post(("", 0), clock, leases, agent, proof_sent_at)
    beats = HeartbeatUdp(
        clock,
        known,
        lambda cluster, event: made.heard.append((cluster, event)),
        lambda: acknowledge,
        lambda how: made.counted.update([how]),
    )
    made.address = ("127.0.0.1", beats.open("127.0.0.1", 0))
    try:
        yield made
    finally:
        beats.close()
        agent.close()


@asynccontextmanager
async def elsewhere(address: str) -> AsyncIterator[socket.socket]:
    with socket.socket(type=socket.SOCK_DGRAM) as made:
        made.setblocking(False)
        made.bind((address, 0))
        yield made


async def test_a_beat_is_heard_and_acknowledged_to_where_it_came_from() -> None:
    async with post() as one:
        ack = await one.acknowledged(frame(sequence=5))
        assert (ack.leader, ack.term, ack.epoch, ack.lease_ms) == ("control1", 4, 0, 0)
        assert (ack.header.sequence, ack.header.sent_us) == (5, 5_000)
        ((cluster, event),) = one.heard
        assert (cluster, event.beat.member, event.beat.sequence) == (SHOP, "a", 5)


@pytest.mark.covers("S42")
async def test_a_lease_is_granted_for_the_epoch_of_the_beat_and_to_that_member_alone() -> None:
    async with post() as one:
        one.leases.stand(SHOP, Grant(MemberName("a"), 1, 5_000))
        assert (await one.acknowledged(frame(epoch=1, sequence=1))).lease_ms == 5_000
        assert (await one.acknowledged(frame(epoch=2, sequence=2))).lease_ms == 0
        one.leases.stand(SHOP, Grant(MemberName("b"), 1, 5_000))
        assert (await one.acknowledged(frame(epoch=1, sequence=3))).lease_ms == 0


@pytest.mark.parametrize(
    ("age_ms", "lease_ms"),
    [pytest.param(1_000, 5_000, id="as_old_as_v"), pytest.param(1_001, 0, id="older")],
)
async def test_a_grant_needs_a_proof_of_the_election_that_is_young_when_the_beat_arrived(
    age_ms: int, lease_ms: int
) -> None:
    async with post() as one:
        one.leases.stand(SHOP, Grant(MemberName("a"), 1, 5_000))
        one.proof_sent_at[-1] = before_ms(one.clock.now(), age_ms)
        assert (await one.acknowledged(frame())).lease_ms == lease_ms


async def test_without_a_proof_or_after_a_withdrawal_nothing_is_granted() -> None:
    async with post() as one:
        one.leases.stand(SHOP, Grant(MemberName("a"), 1, 5_000))
        one.proof_sent_at.clear()
        assert (await one.acknowledged(frame(sequence=1))).lease_ms == 0
        one.proof_sent_at.append(one.clock.now())
        one.leases.stand(SHOP, None)  # what a decision to seal does
        assert (await one.acknowledged(frame(sequence=2))).lease_ms == 0


GOOD = sealed_under(frame())


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        pytest.param(GOOD[:-1], "bad_tag", id="one_byte_short"),
        pytest.param(GOOD[:20], "truncated", id="truncated"),
        pytest.param(b"x" * 600, "truncated", id="too_long"),
        pytest.param(b"GET / HTTP/1.1" + bytes(100), "foreign", id="foreign"),
        pytest.param(GOOD[:3] + b"\2" + GOOD[4:], "wrong_version", id="another_version"),
        pytest.param(GOOD[:50] + b"\xff" + GOOD[51:], "bad_tag", id="forged"),
        pytest.param(sealed_under(frame(), secret=bytes(32)), "bad_tag", id="under_another_secret"),
        pytest.param(sealed_under(frame("z"), "z"), "unknown_member", id="unknown_member"),
        pytest.param(sealed_under(frame("b"), "a"), "bad_tag", id="in_the_name_of_another_member"),
        pytest.param(
            seal(KEY, AckFrame(frame().header, "x", 1, 1, 9_999)), "foreign", id="an_acknowledgement"
        ),
    ],
)
async def test_what_is_not_a_beat_of_a_member_is_counted_and_never_answered(data: bytes, kind: str) -> None:
    async with post() as one:
        await one.send(data)
        assert one.counted == Counter([kind])
        assert one.heard == []
        with pytest.raises(BlockingIOError):
            one.agent.recv(1024)


@pytest.mark.covers("T69")
async def test_a_replayed_beat_is_counted_and_dropped() -> None:
    async with post() as one:
        await one.acknowledged(frame(sequence=9))
        await one.send(sealed_under(frame(sequence=9)))
        assert one.counted == Counter({"accepted": 1, "replayed": 1})
        assert len(one.heard) == 1


def relayed(beat: BeatFrame, by: str = "b") -> bytes:
    outer = Header(member_id("shop", by), 1, 8, 1, 0)
    return seal(member_key(SECRET, "shop", by, 1), RelayFrame(outer, sealed_under(beat)))


async def test_a_relayed_beat_is_told_as_such_and_not_acknowledged() -> None:
    async with post() as one:
        await one.send(relayed(frame()))
        assert one.counted == Counter({"relayed": 1})
        event = one.heard[0][1]
        assert isinstance(event, BeatRelayed)
        assert (event.beat.member, event.by) == ("a", "b")
        with pytest.raises(BlockingIOError):
            one.agent.recv(1024)


async def test_a_beat_that_comes_by_itself_after_its_relay_is_acknowledged_all_the_same() -> None:
    async with post() as one:
        await one.send(relayed(frame(sequence=7)))
        assert (await one.acknowledged(frame(sequence=7))).header.sequence == 7
        one.clock.forward_ms(RELAYS_NEEDLESS_MS)
        await one.send(relayed(frame(sequence=7)))
        assert one.counted == Counter({"relayed": 1, "accepted": 1, "replayed": 1})


async def test_the_relay_of_another_process_than_the_one_that_was_heard_last_is_dropped() -> None:
    async with post() as one:
        await one.acknowledged(frame(boot_id=1))
        one.clock.forward_ms(60_000)
        await one.send(relayed(frame(boot_id=2)))
        await one.send(relayed(frame(boot_id=1, sequence=2)))
        assert one.counted == Counter({"accepted": 1, "replayed": 1, "relayed": 1})


async def test_a_relay_of_one_who_is_heard_is_not_needed() -> None:
    async with post() as one:
        await one.acknowledged(frame(sequence=1))
        await one.send(relayed(frame(sequence=2)))
        one.clock.forward_ms(RELAYS_NEEDLESS_MS)
        await one.send(relayed(frame(sequence=3)))
        assert one.counted == Counter({"accepted": 1, "relay_needless": 1, "relayed": 1})


async def test_who_is_in_another_cluster_relays_nobody_here() -> None:
    async with post() as one:
        outer = Header(member_id("other", "b"), 1, 8, 1, 0)
        key = member_key(SECRET, "other", "b", 1)
        await one.send(seal(key, RelayFrame(outer, sealed_under(frame()))))
        assert one.counted == Counter({"foreign": 1})


async def test_who_speaks_from_where_the_specification_says_is_never_second() -> None:
    """A control node that was started again hears recorded beats first, from elsewhere."""
    async with post() as one, elsewhere("127.0.0.2") as recorder, elsewhere("127.0.0.9") as real:
        mine, one.agent = one.agent, recorder
        await one.acknowledged(frame(boot_id=1))
        one.agent = real
        assert (await one.acknowledged(frame(boot_id=2))).header.boot_id == 2
        one.agent = recorder
        await one.send(sealed_under(frame(boot_id=3)))
        assert one.counted == Counter({"accepted": 2, "second_agent": 1})
        one.agent = mine


async def test_nobody_relays_itself() -> None:
    async with post() as one:
        await one.send(relayed(frame(), by="a"))
        assert one.counted == Counter({"foreign": 1})


async def test_a_relay_inside_a_relay_is_dropped() -> None:
    async with post() as one:
        key_of_b = member_key(SECRET, "shop", "b", 1)
        outer = Header(member_id("shop", "b"), 1, 8, 1, 0)
        inner = seal(key_of_b, RelayFrame(structs.replace(outer, sequence=2), sealed_under(frame())))
        await one.send(seal(key_of_b, RelayFrame(outer, inner)))
        assert one.counted == Counter({"foreign": 1})
        assert one.heard == []


@pytest.mark.covers("S43")
async def test_a_second_agent_on_another_host_is_not_heard_while_the_first_one_is() -> None:
    async with post() as one, elsewhere("127.0.0.2") as other:
        await one.acknowledged(frame(boot_id=1, sequence=1))
        first, one.agent = one.agent, other
        await one.send(sealed_under(frame(boot_id=2, sequence=1)))
        one.agent = first
        await one.acknowledged(frame(boot_id=1, sequence=2))
        assert one.counted == Counter({"accepted": 2, "second_agent": 1})
        assert [event.beat.boot_id for _, event in one.heard] == [1]

        one.clock.forward_ms(SPOKEN_FOR_MS)
        one.agent = other
        await one.acknowledged(frame(boot_id=2, sequence=2))
        assert one.heard[-1][1].beat.boot_id == 2
        one.agent = first


async def test_an_agent_that_was_started_again_on_its_host_is_heard_at_once() -> None:
    async with post() as one:
        await one.acknowledged(frame(boot_id=1))
        await one.acknowledged(frame(boot_id=2))
        assert [event.beat.boot_id for _, event in one.heard] == [1, 2]
