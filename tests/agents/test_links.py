"""Beats, acknowledgements and the stream, over real sockets and mutual TLS."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from msgspec import structs

from agents.config import AgentConfig, load
from agents.core.state import AgentState
from agents.facts_keeper import FactsKeeper
from agents.link.beat import Beats
from agents.link.reports import Urgency
from agents.link.session import Session, until_broken
from agents.postgres.facts import PartialFacts
from common.assignment import Assignment, Version, Wait
from common.clock import BootClock
from common.datagram import AckFrame, BeatFrame, member_key, open_frame, seal
from common.facts import PostgresState, SealReport
from common.ids import ClusterName, IncarnationId, MemberName
from common.lsn import Lsn
from common.profile import DEFAULT, FAST, PATIENT, Profile
from common.timebase import Instant
from deploy.lab.ca import Authority
from tests.agents.leader import SECRET, Leader, write_config

ME = IncarnationId("a" * 16)


@dataclass
class Links:
    config: AgentConfig
    leaders: list[Leader]
    keeper: FactsKeeper
    beats: Beats
    session: Session
    grants: list[tuple[int, Instant, int]]
    orders: list[Assignment]
    profiles: list[Profile]


@pytest.fixture
async def links(tmp_path: Path) -> AsyncIterator[Links]:
    authority = Authority("test")
    leaders = [Leader(authority, name=f"control{n}") for n in (1, 2)]
    for leader in leaders:
        await leader.start()
    first, second = leaders
    second.leads, second.leader_name = False, "control1"
    second.leader_address = f"127.0.0.1:{first.grpc_port}"
    config = load(write_config(tmp_path, authority, leaders))
    keeper = FactsKeeper(AgentState(ClusterName("shop"), MemberName("a"), ME), BootClock())
    beats = Beats(config, keeper, BootClock(), lambda: DEFAULT)
    session = Session(config, keeper, beats, BootClock(), lambda: DEFAULT)
    made = Links(config, leaders, keeper, beats, session, [], [], [])
    keeper.listen(lambda urgency: beats.send_now() if urgency is Urgency.BEATEN else None)
    beats.on_grant = lambda *grant: made.grants.append(grant)
    beats.on_leader = session.leader_known
    session.on_profile = made.profiles.append

    session.on_assignment = made.orders.append
    running = [asyncio.ensure_future(part.run()) for part in (beats, session)]
    yield made
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    for leader in leaders:
        await leader.stop()


async def eventually(condition: object, within_s: float = 10.0) -> None:
    assert callable(condition)
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.005)


async def test_the_leader_is_found_and_told_and_its_orders_arrive(links: Links) -> None:
    leader = links.leaders[0]
    facts = await leader.until(lambda f: True, 10)
    assert facts.incarnation == ME
    assert links.profiles == [FAST]
    order = Assignment(facts.cluster, facts.member, ME, 1, Version(1, 1), "", Wait())
    await leader.order(order)
    await eventually(lambda: links.orders == [order])


async def test_a_profile_that_changes_while_the_stream_is_open_is_taken(links: Links) -> None:
    """The leader judges silence by the new one at once: an agent that went on beating slowly would look silent."""
    leader = links.leaders[0]
    await leader.until(lambda f: True, 10)
    await leader.tell_profile(PATIENT)
    await eventually(lambda: links.profiles == [FAST, PATIENT])
    order = Assignment(ClusterName("shop"), MemberName("a"), ME, 1, Version(1, 1), "", Wait())
    await leader.order(order)
    await eventually(lambda: links.orders == [order])


async def test_every_control_node_hears_every_beat_and_news_at_once(links: Links) -> None:
    for leader in links.leaders:
        await leader.until_beat(lambda b: True)
    await asyncio.sleep(0.02)
    loop = asyncio.get_running_loop()
    begun_at = loop.time()
    links.keeper.measured(PartialFacts(postgres=PostgresState.STANDBY, postmaster_alive=True))
    for leader in links.leaders:
        await leader.until_beat(lambda b: b.flags.postmaster_alive)
    assert loop.time() - begun_at < 0.1  # the period of a standby is 500 ms


async def test_a_seal_is_reported_over_the_stream_and_costs_no_beat(links: Links) -> None:
    before = links.beats.counts["sent"]
    state = AgentState(ClusterName("shop"), MemberName("a"), ME, obeyed=Version(2, 20))
    links.keeper.state_changed(structs.replace(state, seal=SealReport(2, ME, 1, Lsn(900), Lsn(900))))
    assert links.beats.counts["sent"] == before
    await links.leaders[0].until(lambda f: f.seal is not None, 10)


async def test_what_a_standby_received_goes_out_when_it_was_measured_and_once_a_period(links: Links) -> None:
    """Else a witness's word is a second old at the worst, and a primary that only we don't hear is replaced."""
    for leader in links.leaders:
        await leader.until_beat(lambda b: True)
    standby = PartialFacts(postgres=PostgresState.STANDBY, postmaster_alive=True, receiver_alive=True)
    links.keeper.measured(standby)
    before = links.beats.counts["sent"]
    links.keeper.measured(structs.replace(standby, received_age_ms=7))
    links.beats.measured()
    assert links.beats.counts["sent"] == before + len(links.leaders)
    links.beats.measured()
    assert links.beats.counts["sent"] == before + len(links.leaders)
    for leader in links.leaders:
        await leader.until_beat(lambda b: b.received_age_ms is not None and b.received_age_ms >= 7)


async def test_when_another_one_leads_the_stream_goes_there_at_once(links: Links) -> None:
    first, second = links.leaders
    await first.until(lambda f: True, 10)
    first.leads, first.leader_name = False, "control2"
    second.leads, second.term = True, 6
    first.term = 6
    second.leader_name = ""
    links.beats.send_now()
    loop = asyncio.get_running_loop()
    begun_at = loop.time()
    await second.until(lambda f: True, 10)
    assert loop.time() - begun_at < 1.0


async def test_a_lease_counts_from_when_the_beat_was_sent(links: Links) -> None:
    await eventually(lambda: links.grants)
    _, sent_at, lease_ms = links.grants[0]
    assert sent_at == links.leaders[0].beats[0].header.sent_us
    assert lease_ms == FAST.lease_ms


@pytest.mark.parametrize(
    "forged",
    [
        pytest.param({"boot_id": 1}, id="another_boot"),
        pytest.param({"sequence": 10**9}, id="never_sent"),
        pytest.param({"sent_us": 2**60}, id="a_later_instant"),
        pytest.param({"member_id": 1}, id="another_member"),
    ],
)
async def test_an_acknowledgement_that_echoes_no_beat_of_ours_grants_nothing(
    links: Links, forged: dict[str, int]
) -> None:
    for leader in links.leaders:
        leader.acks = False
    await links.leaders[0].until_beat(lambda b: True)
    await asyncio.sleep(0.02)
    links.grants.clear()
    header = structs.replace(links.leaders[0].beats[-1].header, **forged)
    key = member_key(SECRET, "shop", "a", 1)
    sent = links.beats.counts.total()
    assert links.beats._socket is not None
    target = links.beats._socket.getsockname()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.sendto(seal(key, AckFrame(header, "control1", 99, 1, 60_000)), target)
        other.sendto(b"noise", target)
    await eventually(lambda: links.beats.counts["truncated"])
    assert links.beats.counts.total() > sent
    assert links.grants == []


async def test_where_udp_is_filtered_beats_go_over_the_stream(links: Links) -> None:
    # Nothing answers over UDP: as if it were dropped on its way.
    for leader in links.leaders:
        leader.acks = False
    await asyncio.sleep(0.05)
    before = links.leaders[0].stream_beats_count
    await eventually(lambda: links.leaders[0].stream_beats_count > before, 15)
    links.grants.clear()
    await eventually(lambda: links.grants, 10)
    assert links.session.trouble == "UDP is not answered by control1; its beats go over the stream"
    for leader in links.leaders:
        leader.acks = True
    await eventually(lambda: not links.session.trouble, 10)


async def test_a_primary_that_nobody_answers_asks_the_peers_that_it_was_told(links: Links) -> None:
    links.beats.told_peers(["127.0.0.2"])
    links.keeper.measured(PartialFacts(postgres=PostgresState.PRIMARY, postmaster_alive=True))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.2", links.config.peer_port))
        peer.setblocking(False)
        await eventually(lambda: links.beats.counts["acknowledged"] > 2)
        asked = links.beats.counts["peers_asked"]
        await eventually(lambda: links.beats.counts["acknowledged"] > 12)
        assert links.beats.counts["peers_asked"] == asked  # somebody answers
        for leader in links.leaders:
            leader.acks = False
        data = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(peer, 1024), 5)
        assert isinstance(open_frame(data, lambda _member, _generation: links.config.beat_key), BeatFrame)
        links.keeper.measured(PartialFacts(PostgresState.STANDBY, postmaster_alive=True, answered=True))
        await asyncio.sleep(0)
        asked = links.beats.counts["peers_asked"]
        links.beats.send_now()
        assert links.beats.counts["peers_asked"] == asked


async def test_the_peers_are_told_with_the_welcome(links: Links) -> None:
    told: list[Sequence[str]] = []
    links.session.on_peers = told.append
    links.leaders[0].peers = ("10.0.0.2", "10.0.0.3")
    links.session._leader_changed.set()  # it comes anew
    await eventually(lambda: ("10.0.0.2", "10.0.0.3") in told)


async def test_a_write_into_a_call_that_has_ended_ends_the_stream_and_not_the_agent() -> None:
    """grpc.aio raises InvalidStateError then, which is none of its own errors."""
    calls_cancelled = 0

    class Ended:
        def cancel(self) -> None:
            nonlocal calls_cancelled
            calls_cancelled += 1

    async def write() -> None:
        raise asyncio.InvalidStateError("RPC already finished.")

    await until_broken(write(), Ended())
    assert calls_cancelled == 1
