"""A primary that nobody answers asks its peers, and they pass its beats on, sealed as their own."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from agents.config import AgentConfig, ControlAddress, load
from agents.link.relay import A_SECOND_MAX, Relay
from common.clock import BootClock
from common.datagram import RelayFrame, open_frame
from deploy.lab.ca import Authority
from tests.agents.leader import Leader, write_config
from tests.orchestrator.beats import frame, sealed_under
from tests.orchestrator.fakes import HandClock

ASKS, PASSES_ON, STRANGER = "127.0.0.1", "127.0.0.2", "127.0.0.3"
WITHIN_S = 5


@dataclass
class Peer:
    relay: Relay
    config: AgentConfig
    control: socket.socket
    """Where the control node listens."""
    clock: HandClock

    async def passed_on(self) -> RelayFrame:
        data = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.control, 1024), WITHIN_S)
        opened = open_frame(data, lambda _member, _generation: self.config.beat_key)
        assert isinstance(opened, RelayFrame)
        return opened

    async def asked(self, data: bytes, *, address: str = ASKS) -> None:
        """Return once it was dealt with."""
        before = self.relay.counts.total()
        with socket.socket(type=socket.SOCK_DGRAM) as primary:
            primary.bind((address, 0))
            primary.sendto(data, (PASSES_ON, self.config.peer_port))
        async with asyncio.timeout(WITHIN_S):
            while self.relay.counts.total() == before:
                await asyncio.sleep(0.001)


def bound(address: str) -> socket.socket:
    made = socket.socket(type=socket.SOCK_DGRAM)
    made.setblocking(False)
    made.bind((address, 0))
    return made


@asynccontextmanager
async def peer(folder: Path) -> AsyncIterator[Peer]:
    authority, clock = Authority("test"), HandClock()
    leader = Leader(authority, name="control1")
    await leader.start()
    written = load(write_config(folder, authority, [leader]))
    await leader.stop()
    with bound("127.0.0.1") as control, bound(PASSES_ON) as free:
        peer_port = free.getsockname()[1]
        free.close()
        target = ControlAddress("control1", "127.0.0.1", control.getsockname()[1], 1)
        config = replace(written, listen_address=PASSES_ON, peer_port=peer_port, control=(target,))
        relay = Relay(config, clock)
        relay.told_peers([ASKS])
        running = asyncio.create_task(relay.run())
        await asyncio.sleep(0)
        try:
            yield Peer(relay, config, control, clock)
        finally:
            running.cancel()
            await asyncio.wait({running})


async def test_what_a_peer_asks_is_passed_on_untouched_under_a_seal_of_ones_own(tmp_path: Path) -> None:
    async with peer(tmp_path) as one:
        beat = sealed_under(frame(sequence=7))
        await one.asked(beat)
        relayed = await one.passed_on()
        assert relayed.inner == beat
        await one.asked(beat)
        assert (await one.passed_on()).header.sequence == relayed.header.sequence + 1


async def test_a_stranger_s_beat_and_what_is_no_beat_are_not_passed_on(tmp_path: Path) -> None:
    async with peer(tmp_path) as one:
        await one.asked(sealed_under(frame()), address=STRANGER)
        await one.asked(b"noise")
        await one.asked(sealed_under(frame()) + b".")
        assert one.relay.counts == {"foreign": 3}


async def test_who_is_a_peer_is_what_the_leader_told_last(tmp_path: Path) -> None:
    async with peer(tmp_path) as one:
        one.relay.told_peers([STRANGER])
        await one.asked(sealed_under(frame()))
        assert one.relay.counts == {"foreign": 1}
        await one.asked(sealed_under(frame()), address=STRANGER)
        assert one.relay.counts["passed_on"] == 1


async def test_no_more_is_passed_on_than_a_primary_beats(tmp_path: Path) -> None:
    async with peer(tmp_path) as one:
        one.relay.told_peers([ASKS, STRANGER])
        for _ in range(A_SECOND_MAX + 3):
            await one.asked(sealed_under(frame()))
        assert one.relay.counts == {"passed_on": A_SECOND_MAX, "too_many": 3}
        await one.asked(sealed_under(frame()), address=STRANGER)  # whose own share is whole
        one.clock.forward_ms(1_000)
        await one.asked(sealed_under(frame()))
        assert one.relay.counts["passed_on"] == A_SECOND_MAX + 2


async def test_without_its_port_an_agent_goes_on(tmp_path: Path) -> None:
    async with peer(tmp_path) as one:
        running = asyncio.create_task(Relay(one.config, BootClock()).run())
        await asyncio.sleep(0.01)
        assert not running.done()
        running.cancel()
        await asyncio.wait({running})
