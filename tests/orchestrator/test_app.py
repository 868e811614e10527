"""Whole control nodes on a real etcd: gaining, handing over and losing the leadership, and what goes on."""

from __future__ import annotations

import asyncio
import secrets
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from common.codec import decode
from common.datagram import AckFrame, member_key, open_frame
from orchestrator.app import App
from orchestrator.core.status import CanaryLine, ClusterStatus
from protos import operator_pb2 as pb
from protos import operator_pb2_grpc
from tests.adapters.etcd.scratch_etcd import EtcdMember, etcd_binary, scratch_cluster
from tests.needs import not_run
from tests.orchestrator.beats import frame, sealed_under
from tests.orchestrator.control_node import SECRET, WITHIN_S, Fleet, spec_of, until

pytestmark = pytest.mark.real


@pytest.fixture
def etcd() -> Iterator[EtcdMember]:
    if etcd_binary() is None:
        not_run("etcd", get_it_by="apt-get install etcd-server (or set PRIMACY_ETCD)")
    with scratch_cluster() as members:
        yield members[0]


@pytest.fixture
def fleet(etcd: EtcdMember, tmp_path: Path) -> Fleet:
    return Fleet(tmp_path, etcd.address, f"t-{secrets.token_hex(4)}")


async def get(app: App, path: str) -> tuple[int, str]:
    def ask() -> tuple[int, str]:
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{app.config.http_port}{path}", timeout=WITHIN_S
            ) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    return await asyncio.to_thread(ask)


async def acknowledged(app: App, sequence: int) -> AckFrame:
    """What this control node answers to a beat of member a."""
    key = member_key(SECRET, "shop", "a", 1)
    agent = socket.socket(type=socket.SOCK_DGRAM)
    agent.setblocking(False)
    agent.bind(("127.0.0.1", 0))
    loop = asyncio.get_running_loop()
    try:
        agent.sendto(sealed_under(frame(sequence=sequence)), ("127.0.0.1", app.config.beat_port))
        data = await asyncio.wait_for(loop.sock_recv(agent, 1024), WITHIN_S)
    finally:
        agent.close()
    ack = open_frame(data, lambda _id, _generation: key)
    assert isinstance(ack, AckFrame)
    return ack


@pytest.mark.covers("S17")
async def test_one_leads_all_hear_and_a_stopping_leader_hands_over(fleet: Fleet) -> None:
    async with fleet.node("control1") as one, fleet.node("control2") as two:
        await until(lambda: one.leads or two.leads)
        leader, other = (one, two) if one.leads else (two, one)
        await until(lambda: other.leader_address)
        assert (await fleet.apply(other, spec_of())).changed  # forwarded
        await until(lambda: leader.loop.cases and other.loop.cases)
        for node in (leader, other):
            ack = await acknowledged(node, sequence=1)
            assert ack.leader == leader.config.name
            assert ack.lease_ms == 0
        assert not other.leads
        first_term = (await acknowledged(leader, sequence=2)).term

        leader.stop()
        await until(lambda: other.leads)
        ack = await acknowledged(other, sequence=3)
        assert ack.leader == other.config.name
        assert ack.term > first_term
        async with fleet.channel(other) as channel:
            stub = operator_pb2_grpc.OperatorStub(channel)  # type: ignore[no-untyped-call,unused-ignore]
            reply = await stub.Status(pb.StatusRequest(cluster="shop"), timeout=WITHIN_S)
            status = decode(reply.json, ClusterStatus)
            assert (status.leader, len(status.members)) == (other.config.name, 3)


async def test_the_leader_runs_a_canary_and_says_why_it_does_not_write(fleet: Fleet) -> None:
    async with fleet.node("control1") as one:
        await until(lambda: one.leads)
        assert (await fleet.apply(one, replace(spec_of(), canary=True))).changed
        await until(lambda: one.loop.cases)
        async with fleet.channel(one) as channel:
            stub = operator_pb2_grpc.OperatorStub(channel)  # type: ignore[no-untyped-call,unused-ignore]
            line: CanaryLine | None = None
            async with asyncio.timeout(WITHIN_S):
                while line is None or "name server" not in line.text:
                    reply = await stub.Status(pb.StatusRequest(cluster="shop"), timeout=WITHIN_S)
                    line = decode(reply.json, ClusterStatus).canary
                    await asyncio.sleep(0.05)
        assert (line.state, line.acknowledged_age_ms) == ("waiting", None)
        assert (
            'primacy_canary_attempts_total{cluster="shop",outcome="failed",what="connect"}'
            in (await get(one, "/metrics"))[1]
        )
        assert one.leads


async def test_without_etcd_a_node_stops_leading_and_goes_on_listening(
    fleet: Fleet, etcd: EtcdMember
) -> None:
    async with fleet.node("control1") as one:
        await until(lambda: one.leads)
        await fleet.apply(one, spec_of())
        await until(lambda: one.loop.cases)
        etcd.freeze()
        try:
            await until(lambda: not one.leads)
            ack = await acknowledged(one, sequence=1)
            assert ack.lease_ms == 0
            assert (await get(one, "/health/live"))[0] == 200
            await until(lambda: not one._etcd_answers)
            assert (await get(one, "/health/ready"))[0] == 503
        finally:
            etcd.thaw()
        await until(lambda: one.leads)


async def test_an_operation_on_a_cluster_that_is_not_born_is_refused_with_words(fleet: Fleet) -> None:
    async with fleet.node("control1") as one, fleet.channel(one) as channel:
        await until(lambda: one.leads)
        await fleet.apply(one, spec_of())
        await until(lambda: one.loop.cases and not next(iter(one.loop.cases.values())).must_load)
        stub = operator_pb2_grpc.OperatorStub(channel)  # type: ignore[no-untyped-call,unused-ignore]
        request = pb.SwitchoverRequest(cluster="shop", request_id="request-1")
        steps = [step async for step in stub.Switchover(request, timeout=WITHIN_S)]
        assert [step.kind for step in steps] == [pb.STEP_REFUSED]
        assert "not initialised" in steps[0].text


async def test_metrics_the_page_and_health_are_served(fleet: Fleet) -> None:
    async with fleet.node("control1") as one, fleet.channel(one) as channel:
        await until(lambda: one.leads)
        await fleet.apply(one, spec_of())
        await until(lambda: one.loop.cases and one._etcd_answers)
        await acknowledged(one, sequence=1)
        assert "primacy_leading 1.0" in (await get(one, "/metrics"))[1]
        assert 'primacy_beats_total{outcome="accepted"} 1.0' in (await get(one, "/metrics"))[1]
        assert "shop" in (await get(one, "/"))[1]
        health = health_pb2_grpc.HealthStub(channel)
        answer = await health.Check(health_pb2.HealthCheckRequest(), timeout=WITHIN_S)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_without_a_certificate_of_the_fleet_no_door_opens(fleet: Fleet) -> None:
    stranger = Fleet(fleet.folder, fleet.etcd, fleet.name)  # another authority
    async with fleet.node("control1") as one:
        own = stranger.credentials("operator:mallory")
        async with grpc.aio.secure_channel(one.config.address, own) as channel:
            stub = operator_pb2_grpc.OperatorStub(channel)  # type: ignore[no-untyped-call,unused-ignore]
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.Status(pb.StatusRequest(), timeout=5)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
