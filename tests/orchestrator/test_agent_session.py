"""The agents' stream over real gRPC with mutual TLS: who may open it, what comes up, what goes down."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
import pytest

from common.assignment import Assignment, Version
from common.codec import decode, encode
from common.facts import Facts
from common.ids import ClusterName, MemberName
from common.profile import DEFAULT, FAST, Profile
from deploy.lab.ca import Authority
from orchestrator.core.events import BeatHeard, FactsHeard, StreamLost
from orchestrator.egress.assignments import AssignmentStreams
from orchestrator.ingress.agent_session import LEADER_KEY, AgentSessions, host_of
from orchestrator.ingress.heard import SPOKEN_FOR_MS, Heard
from orchestrator.ingress.heartbeat_udp import Acknowledgement
from protos import agent_pb2, agent_pb2_grpc, beat_pb2
from tests.orchestrator.control_node import SECRET
from tests.orchestrator.fakes import SHOP, HandClock, assignment

INCARNATION = "0" * 16
WITHIN_S = 10


@dataclass
class Node:
    """What the sessions see of their control node."""

    leads: bool = True
    leader_address: str = "127.0.0.9:7432"
    timings: Profile = DEFAULT
    peers: tuple[str, ...] = ()
    named: tuple[str, ...] = ()
    """The addresses of its specification."""
    streams: AssignmentStreams = field(default_factory=AssignmentStreams)
    heard: list[Any] = field(default_factory=list)
    counted: Counter[str] = field(default_factory=Counter)
    address: str = ""
    other_address: str = ""
    clock: HandClock = field(default_factory=HandClock)
    authority: Authority = field(default_factory=lambda: Authority("test"))

    def wanted(self, cluster: ClusterName, member: MemberName) -> tuple[Profile, tuple[str, ...]]:
        return self.timings, self.peers

    def welcome(self, wanted: tuple[Profile, tuple[str, ...]]) -> agent_pb2.Welcome:
        profile, peers = wanted
        return agent_pb2.Welcome(leader="control1", term=4, profile=encode(profile).decode(), peers=peers)

    async def until_heard(self, kind: type) -> Any:
        async with asyncio.timeout(WITHIN_S):
            while True:
                for event in self.heard:
                    if isinstance(event, kind):
                        return event
                await asyncio.sleep(0.005)

    @asynccontextmanager
    async def agent(
        self, identity: str = "agent:shop/a", *, hello: bool = True, elsewhere: bool = False
    ) -> AsyncIterator[Any]:
        """`elsewhere`: from what looks like another host."""
        own = self.authority.issue(identity, addresses=("127.0.0.1",))
        credentials = grpc.ssl_channel_credentials(self.authority.certificate_pem, own.key, own.certificate)
        named = (("grpc.ssl_target_name_override", "127.0.0.1"),)
        address = self.other_address if elsewhere else self.address
        async with grpc.aio.secure_channel(address, credentials, options=named) as channel:
            call = agent_pb2_grpc.AgentsStub(channel).Session(timeout=WITHIN_S)
            if hello:
                up = agent_pb2.Hello(cluster="shop", member="a", incarnation=INCARNATION, version=1)
                # A node that refuses may have ended the call before: its answer is read, not ours to write.
                with suppress(grpc.aio.AioRpcError):
                    await call.write(agent_pb2.Up(hello=up))
            yield call


@asynccontextmanager
async def node(*named: str) -> AsyncIterator[Node]:
    made = Node(named=named)
    clock = made.clock
    known = Heard(clock, SECRET)
    known.set_members([(SHOP, MemberName("a"), made.named)])
    sessions = AgentSessions(
        clock=clock,
        heard=known,
        put=lambda _cluster, event: made.heard.append(event),
        streams=made.streams,
        leads=made,
        welcomes=made,
        acknowledge=lambda _cluster, _member, epoch: Acknowledgement("control1", 4, epoch, 5_000),
        counted=lambda how: made.counted.update([how]),
    )
    server = grpc.aio.server()
    agent_pb2_grpc.add_AgentsServicer_to_server(sessions, server)
    own = made.authority.issue("control:control1", addresses=("127.0.0.1",))
    credentials = grpc.ssl_server_credentials(
        [(own.key, own.certificate)], made.authority.certificate_pem, require_client_auth=True
    )
    made.address = f"127.0.0.1:{server.add_secure_port('127.0.0.1:0', credentials)}"
    with tempfile.TemporaryDirectory() as folder:
        made.other_address = f"unix:{folder}/grpc"
        server.add_secure_port(made.other_address, credentials)
        await server.start()
        try:
            yield made
        finally:
            await server.stop(0)


def facts(epoch: int = 0, revision: int = 0, member: str = "a") -> Facts:
    return Facts(SHOP, MemberName(member), assignment(1).incarnation, Version(epoch, revision))


async def assigned(call: Any) -> Assignment:
    down = await asyncio.wait_for(call.read(), WITHIN_S)
    assert down.WhichOneof("what") == "assignment", down
    return decode(down.assignment, Assignment)


async def refusal(call: Any) -> tuple[grpc.StatusCode, str, dict[str, str]]:
    code, details = await call.code(), await call.details()
    return code, details, {key: str(value) for key, value in await call.trailing_metadata()}


async def test_an_agent_is_welcomed_and_told_its_present_assignment_at_once() -> None:
    async with node() as one:
        one.streams.offer(SHOP, [assignment(7)])
        async with one.agent() as call:
            assert (await call.read()).welcome.leader == "control1"
            assert (await assigned(call)).version == Version(1, 7)


async def test_an_assignment_is_pushed_when_it_changes_and_repeated_until_the_facts_agree() -> None:
    async with node() as one, one.agent() as call:
        await call.read()
        one.streams.offer(SHOP, [assignment(7)])
        assert (await assigned(call)).version == Version(1, 7)
        assert (await assigned(call)).version == Version(1, 7)  # nobody said that it was obeyed
        await call.write(agent_pb2.Up(facts=encode(facts(1, 7))))
        await one.until_heard(FactsHeard)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(asyncio.ensure_future(assigned(call))), 1.3)


async def test_an_order_for_another_incarnation_is_not_sent() -> None:
    async with node() as one, one.agent() as call:
        await call.read()
        other = facts()
        await call.write(
            agent_pb2.Up(
                facts=encode(Facts(SHOP, other.member, type(other.incarnation)("f" * 16), other.obeyed))
            )
        )
        await one.until_heard(FactsHeard)
        one.streams.offer(SHOP, [assignment(7)])
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(asyncio.ensure_future(assigned(call))), 0.3)


async def test_facts_and_beats_come_up_and_a_beat_is_acknowledged() -> None:
    async with node() as one, one.agent() as call:
        await call.read()
        await call.write(agent_pb2.Up(facts=encode(facts(1, 7))))
        assert (await one.until_heard(FactsHeard)).facts == facts(1, 7)
        await call.write(agent_pb2.Up(beat=beat_pb2.Beat(sequence=3, sent_us=9, obeyed_epoch=6)))
        ack = (await asyncio.wait_for(call.read(), WITHIN_S)).ack
        assert (ack.sequence, ack.sent_us, ack.epoch, ack.lease_ms) == (3, 9, 6, 5_000)
        assert (await one.until_heard(BeatHeard)).beat.member == "a"


async def test_an_agent_is_told_another_profile_with_its_next_report_and_once() -> None:
    async with node() as one, one.agent() as call:
        assert decode((await call.read()).welcome.profile.encode(), Profile) == DEFAULT
        await call.write(agent_pb2.Up(facts=encode(facts(1, 7))))
        await one.until_heard(FactsHeard)
        one.timings = FAST  # somebody applied a changed specification
        for _ in range(2):
            await call.write(agent_pb2.Up(facts=encode(facts(1, 7))))
        await call.write(agent_pb2.Up(beat=beat_pb2.Beat(sequence=3, sent_us=9, obeyed_epoch=6)))
        down = await asyncio.wait_for(call.read(), WITHIN_S)
        assert decode(down.welcome.profile.encode(), Profile) == FAST
        assert (await asyncio.wait_for(call.read(), WITHIN_S)).ack.sequence == 3


async def test_the_end_of_a_stream_is_heard() -> None:
    async with node() as one:
        async with one.agent() as call:
            await call.read()
        assert (await one.until_heard(StreamLost)).member == "a"
        assert one.streams.count == 0


async def test_a_newer_session_of_a_member_ends_the_older_one() -> None:
    async with node() as one, one.agent() as old:
        await old.read()
        async with one.agent() as new:
            await new.read()
            assert await asyncio.wait_for(old.read(), WITHIN_S) is grpc.aio.EOF
            one.streams.offer(SHOP, [assignment(7)])
            assert (await assigned(new)).version == Version(1, 7)


async def test_a_node_that_does_not_lead_says_who_does() -> None:
    async with node() as one:
        one.leads = False
        async with one.agent() as call:
            code, _, metadata = await refusal(call)
            assert code is grpc.StatusCode.FAILED_PRECONDITION
            assert metadata[LEADER_KEY] == "127.0.0.9:7432"


async def test_the_end_of_leadership_ends_the_stream_and_says_who_leads_now() -> None:
    async with node() as one, one.agent() as call:
        await call.read()
        one.leads = False
        one.streams.close_all()
        code, _, metadata = await refusal(call)
        assert (code, metadata[LEADER_KEY]) == (grpc.StatusCode.FAILED_PRECONDITION, "127.0.0.9:7432")


@pytest.mark.parametrize(
    ("identity", "code"),
    [
        pytest.param("agent:shop/b", grpc.StatusCode.PERMISSION_DENIED, id="another_member"),
        pytest.param("agent:other/a", grpc.StatusCode.PERMISSION_DENIED, id="another_cluster"),
        pytest.param("operator:alice", grpc.StatusCode.PERMISSION_DENIED, id="a_person"),
        pytest.param("control:control1", grpc.StatusCode.PERMISSION_DENIED, id="a_control_node"),
        pytest.param("somebody", grpc.StatusCode.PERMISSION_DENIED, id="nobody_of_ours"),
    ],
)
async def test_another_certificate_is_refused(identity: str, code: grpc.StatusCode) -> None:
    async with node() as one, one.agent(identity) as call:
        assert (await refusal(call))[0] is code
        assert one.counted["wrong_certificate"] == 1
        assert one.heard == []


async def test_facts_of_another_member_end_the_session() -> None:
    async with node() as one, one.agent() as call:
        await call.read()
        await call.write(agent_pb2.Up(facts=encode(facts(member="b"))))
        assert (await refusal(call))[0] is grpc.StatusCode.PERMISSION_DENIED
        assert one.counted["bad_facts"] == 1


async def test_facts_that_are_no_facts_end_the_session() -> None:
    async with node() as one, one.agent() as call:
        await call.read()
        await call.write(agent_pb2.Up(facts=b'{"cluster": 7}'))
        code, details, _ = await refusal(call)
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert "Facts" in details


@pytest.mark.covers("S43")
async def test_a_second_agent_on_another_host_is_refused_while_the_first_one_speaks() -> None:
    async with node() as one, one.agent() as first:
        await first.read()
        async with one.agent(elsewhere=True) as second:
            code, words, _ = await refusal(second)
            assert code is grpc.StatusCode.ALREADY_EXISTS
            assert "another agent speaks as a of shop, from 127.0.0.1, heard 0 ms ago" in words
        one.clock.forward_ms(SPOKEN_FOR_MS - 1)
        await first.write(agent_pb2.Up(facts=encode(facts())))
        await one.until_heard(FactsHeard)
        one.clock.forward_ms(SPOKEN_FOR_MS - 1)
        async with one.agent(elsewhere=True) as second:
            assert (await refusal(second))[0] is grpc.StatusCode.ALREADY_EXISTS
        assert one.counted == Counter({"second_agent": 2})


async def test_an_agent_that_comes_from_another_address_is_let_in_once_its_old_stream_is_silent() -> None:
    async with node() as one, one.agent() as first:
        await first.read()
        one.clock.forward_ms(SPOKEN_FOR_MS)
        async with one.agent(elsewhere=True) as second:
            assert (await second.read()).welcome.leader == "control1"


async def test_who_comes_from_where_the_specification_says_is_never_second() -> None:
    async with node("127.0.0.1") as one, one.agent(elsewhere=True) as impostor:
        await impostor.read()
        async with one.agent() as real:
            assert (await real.read()).welcome.leader == "control1"


async def test_changed_peers_are_told_with_the_next_report() -> None:
    async with node() as one, one.agent() as call:
        assert list((await call.read()).welcome.peers) == []
        one.peers = ("10.0.0.2",)
        await call.write(agent_pb2.Up(facts=encode(facts())))
        down = await asyncio.wait_for(call.read(), WITHIN_S)
        assert list(down.welcome.peers) == ["10.0.0.2"]


@pytest.mark.parametrize(
    ("peer", "host"),
    [
        ("ipv4:10.0.0.1:5000", "10.0.0.1"),
        ("ipv6:%5B2001:DB8::1%5D:5000", "2001:db8::1"),
        ("ipv6:%5B::ffff:10.0.0.1%5D:5000", "10.0.0.1"),
        ("unix:", "unix:"),
    ],
)
def test_a_peer_s_address_is_written_in_one_way(peer: str, host: str) -> None:
    assert host_of(peer) == host
