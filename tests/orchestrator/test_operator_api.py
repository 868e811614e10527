"""What people ask for, over real gRPC with mutual TLS: one outcome for each operation, and who may ask."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import grpc
import grpc.aio
import msgspec
import pytest

from common.codec import decode, encode
from deploy.lab.ca import Authority
from orchestrator.core.effects import OutageMeasured, Story
from orchestrator.core.events import FailoverAsked, SwitchoverAsked
from orchestrator.core.record import Operation, Phase
from orchestrator.core.spec import ClusterSpec
from orchestrator.core.status import ClusterStatus
from orchestrator.ingress import operator_api
from orchestrator.ports import Note, Shelf, StoredSpec
from orchestrator.shell.operations import Operations
from protos import operator_pb2 as pb
from tests.orchestrator.control_node import spec_of
from tests.orchestrator.fakes import SHOP, HandClock, record
from tests.orchestrator.operator_node import ID, WITHIN_S, beside, kinds, node, switchover

# ---- operations ---------------------------------------------------------------------------------------


async def test_an_operation_streams_its_steps_and_ends_with_exactly_one_outcome() -> None:
    async with node() as one, one.person() as alice:
        call = switchover(alice)
        asked = await one.until_asked()
        assert isinstance(asked, SwitchoverAsked)
        assert (asked.operation, asked.by, asked.to) == (ID, "operator:alice", "b")
        one.tell("sealing")
        one.tell("done", "succeeded", outage=OutageMeasured(340, 500))
        one.tell("whole", "succeeded")  # nothing after the outcome
        steps = [step async for step in call]
        assert [(step.kind, step.name) for step in steps] == [
            (pb.STEP_PROGRESS, "sealing"),
            (pb.STEP_SUCCEEDED, "done"),
        ]
        assert (steps[-1].outage.known, steps[-1].outage.outage_ms) == (True, 340)


async def test_asking_again_with_the_same_id_does_it_once_and_tells_it_from_the_beginning() -> None:
    async with node() as one, one.person() as alice:
        first = switchover(alice)
        await one.until_asked()
        one.tell("sealing")
        second = switchover(alice)
        one.tell("done", "succeeded")
        assert await kinds(first) == await kinds(second)
        assert await kinds(switchover(alice)) == [(pb.STEP_PROGRESS, "sealing"), (pb.STEP_SUCCEEDED, "done")]
        assert len(one.asked) == 1


@pytest.mark.covers("S79")
async def test_a_refusal_names_each_member_with_the_reason() -> None:
    async with node() as one, one.person() as alice:
        call = alice.Failover(pb.FailoverRequest(cluster="shop", request_id=ID, force=True), timeout=WITHIN_S)
        asked = await one.until_asked()
        assert isinstance(asked, FailoverAsked)
        assert asked.force
        one.tell("refused", "refused")
        assert await kinds(call) == [(pb.STEP_REFUSED, "refused")]


async def test_an_operation_without_progress_ends_as_failed_and_says_that_it_may_go_on() -> None:
    async with node(quiet_max_s=0.05) as one, one.person() as alice:
        steps = [step async for step in switchover(alice)]
        assert [(step.kind, step.name) for step in steps] == [(pb.STEP_FAILED, "no progress")]
        assert "may still go on" in steps[0].text


async def test_an_operation_that_the_record_names_is_followed_and_not_asked_for_again() -> None:
    async with node() as one, one.person() as alice:
        one.case.record = msgspec.structs.replace(
            record(), operation=Operation(ID, "switchover", "operator:alice")
        )
        call = switchover(alice)
        async with asyncio.timeout(WITHIN_S):
            while not one.operations.knows(ID):
                await asyncio.sleep(0.005)
        one.tell("done", "succeeded")
        assert await kinds(call) == [(pb.STEP_SUCCEEDED, "done")]
        assert one.asked == []


async def test_an_operation_that_an_earlier_leader_ended_is_told_from_its_note() -> None:
    earlier = Operations(HandClock())
    earlier.tell(SHOP, Story(2, "done", "it is done", ID, final="succeeded"))
    _, body = earlier.note(ID)
    async with node() as one, one.person() as alice:
        one.history.notes[Shelf.OPERATIONS, ID] = Note(ID, body, 1)
        assert await kinds(switchover(alice)) == [(pb.STEP_SUCCEEDED, "done")]
        assert one.asked == []


async def test_when_leadership_moves_the_client_is_told_to_ask_again() -> None:
    async with node() as one, one.person() as alice:
        call = switchover(alice)
        await one.until_asked()
        one.leads = False
        one.operations.interrupt()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await kinds(call)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "same request id" in str(caught.value.details())


async def test_an_overloaded_node_says_so_and_forgets_the_operation() -> None:
    async with node() as one, one.person() as alice:
        one.overloaded = True
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await kinds(switchover(alice))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert not one.operations.knows(ID)


async def test_while_etcd_is_away_nothing_is_begun() -> None:
    async with node() as one, one.person() as alice:
        one.history.away = True
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await kinds(switchover(alice))
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert one.asked == []


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        pytest.param(
            pb.SwitchoverRequest(cluster="nope", request_id=ID), grpc.StatusCode.NOT_FOUND, id="no_cluster"
        ),
        pytest.param(pb.SwitchoverRequest(cluster="shop"), grpc.StatusCode.INVALID_ARGUMENT, id="no_id"),
        pytest.param(
            pb.SwitchoverRequest(cluster="shop", request_id="../x"),
            grpc.StatusCode.INVALID_ARGUMENT,
            id="an_id_that_is_a_path",
        ),
    ],
)
async def test_a_wrong_request_changes_nothing(request_: Any, code: grpc.StatusCode) -> None:
    async with node() as one, one.person() as alice:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await kinds(alice.Switchover(request_, timeout=WITHIN_S))
        assert caught.value.code() is code
        assert one.asked == []


# ---- who may ask --------------------------------------------------------------------------------------


@pytest.mark.parametrize("identity", ["agent:shop/a", "control:control2", "somebody"])
async def test_only_people_change_anything(identity: str) -> None:
    async with node() as one, one.person(identity) as stranger:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await kinds(switchover(stranger))
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stranger.Apply(pb.ApplyRequest(spec_json=encode(spec_of())), timeout=WITHIN_S)
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
        assert one.specs.stored == {}


async def test_an_agent_does_not_even_look() -> None:
    async with node() as one, one.person("agent:shop/a") as agent:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await agent.Status(pb.StatusRequest(), timeout=WITHIN_S)
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


# ---- forwarding ---------------------------------------------------------------------------------------


async def test_a_node_that_does_not_lead_passes_everything_on_in_the_name_of_who_asked() -> None:
    authority = Authority("test")
    async with node(authority) as leader, node(authority) as other, other.person() as alice:
        other.leads, other.leader_address = False, leader.address
        assert (await alice.Status(pb.StatusRequest(cluster="shop"), timeout=WITHIN_S)).revision == 5
        call = switchover(alice)
        asked = await leader.until_asked()
        assert isinstance(asked, SwitchoverAsked)
        assert asked.by == "operator:alice"
        leader.tell("done", "succeeded")
        assert await kinds(call) == [(pb.STEP_SUCCEEDED, "done")]
        watch = alice.Watch(pb.StatusRequest(cluster="shop"), timeout=WITHIN_S)
        assert (await watch.read()).revision == 5
        watch.cancel()


async def test_who_looks_on_is_shown_each_phase_at_once_and_reasons_now_and_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each picture takes the leader a millisecond, while clients wait."""
    monkeypatch.setattr(operator_api, "WATCH_PAUSE_S", 3_600.0)
    async with node() as one, one.person() as alice:
        watch = alice.Watch(pb.StatusRequest(cluster="shop"), timeout=WITHIN_S)
        assert (await watch.read()).revision == 5
        for revision in (6, 7, 8):
            one.change(revision, Phase.STABLE)
            await asyncio.sleep(0)
        one.change(9, Phase.SEALING)
        assert (await watch.read()).revision == 9
        monkeypatch.setattr(operator_api, "WATCH_PAUSE_S", 0.0)
        one.change(10, Phase.SEALING)
        assert (await watch.read()).revision == 10
        watch.cancel()


async def test_a_refusal_of_the_leader_comes_back_as_it_is() -> None:
    authority = Authority("test")
    async with node(authority) as leader, node(authority) as other, other.person() as alice:
        other.leads, other.leader_address = False, leader.address
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await alice.Status(pb.StatusRequest(cluster="nope"), timeout=WITHIN_S)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_where_nobody_leads_it_is_said_and_not_passed_round_in_circles() -> None:
    authority = Authority("test")
    async with node(authority) as one, node(authority) as two, one.person() as alice:
        one.leads = two.leads = False
        one.leader_address, two.leader_address = two.address, one.address
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await alice.Status(pb.StatusRequest(), timeout=WITHIN_S)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert str(caught.value.details()).endswith("knows of nobody who does: etcd does not answer")


async def test_a_leader_that_is_lost_after_it_was_asked_may_have_begun() -> None:
    authority = Authority("test")
    async with node(authority) as other, other.person() as alice:
        async with node(authority) as leader:
            other.leads, other.leader_address = False, leader.address
            call = switchover(alice)
            await leader.until_asked()
        # Here it is gone.
        assert ("primacy-may-have-begun", "1") in await beside(call)


async def test_a_leader_that_was_not_reached_or_says_that_it_leads_no_more_has_not_begun() -> None:
    authority = Authority("test")
    async with node(authority) as leader, node(authority) as other, other.person() as alice:
        other.leads, leader.leads = False, False
        for address in ("127.0.0.1:1", leader.address):
            other.leader_address = address
            assert "primacy-may-have-begun" not in dict(await beside(switchover(alice)))


async def test_a_leader_that_is_one_no_more_says_that_it_had_begun() -> None:
    authority = Authority("test")
    async with node(authority) as one, one.person() as alice:
        call = switchover(alice)
        await one.until_asked()
        one.leads = False
        one.operations.interrupt()
        assert ("primacy-may-have-begun", "1") in await beside(call)


async def test_what_etcd_has_and_the_leader_has_not_read_yet_is_worth_asking_for_again() -> None:
    async with node() as one, one.person() as alice:
        one.specs.stored["bank"] = StoredSpec("bank", b"{}", 1)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await alice.Status(pb.StatusRequest(cluster="bank"), timeout=WITHIN_S)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "has not read the specification of bank" in str(caught.value.details())


# ---- looking and applying -----------------------------------------------------------------------------


async def test_the_status_of_one_cluster_is_an_object_and_of_the_fleet_a_list() -> None:
    async with node() as one, one.person() as alice:
        reply = await alice.Status(pb.StatusRequest(cluster="shop"), timeout=WITHIN_S)
        assert decode(reply.json, ClusterStatus).leader == "control1"
        fleet = await alice.Status(pb.StatusRequest(), timeout=WITHIN_S)
        assert [status.cluster for status in decode(fleet.json, list[ClusterStatus])] == ["shop"]


async def test_history_is_told_newest_first() -> None:
    async with node() as one, one.person() as alice:
        for note_id in ("000000000002", "000000000011", "000000000003"):
            one.history.notes[Shelf.INCIDENTS, note_id] = Note(note_id, note_id.encode(), 1)
        reply = await alice.History(pb.HistoryRequest(cluster="shop"), timeout=WITHIN_S)
        assert [int(body) for body in reply.incidents_json] == [11, 3, 2]


async def test_applying_says_what_changes_and_again_changes_nothing() -> None:
    async with node() as one, one.person() as alice:

        async def apply(spec: ClusterSpec, *, dry_run: bool = False) -> list[str]:
            request = pb.ApplyRequest(spec_json=encode(spec), dry_run=dry_run)
            return list((await alice.Apply(request, timeout=WITHIN_S)).changes)

        assert await apply(spec_of(), dry_run=True) == ["new cluster shop with a, b, c"]
        assert one.specs.stored == {}
        assert await apply(spec_of()) == ["new cluster shop with a, b, c"]
        assert await apply(spec_of()) == []
        assert await apply(replace(spec_of(), k=2, profile="fast")) == [
            "k: 1 -> 2",
            "profile: default -> fast",
        ]
        members = spec_of(members=("a", "b")).members
        moved = replace(spec_of(), members=(members[0], replace(members[1], priority=50)))
        assert await apply(moved) == [
            "k: 2 -> 1",
            "profile: fast -> default",
            "member b: priority: 100 -> 50",
            "member c: removed",
        ]


async def test_every_mistake_of_a_specification_is_told_at_once_and_nothing_is_stored() -> None:
    async with node() as one, one.person() as alice:
        wrong = replace(spec_of(), zone="elsewhere.", k=7, durability="async")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await alice.Apply(pb.ApplyRequest(spec_json=encode(wrong)), timeout=WITHIN_S)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        details = str(caught.value.details())
        assert all(word in details for word in ("zone:", "k:", "durability:"))
        assert one.specs.stored == {}


async def test_a_canary_is_refused_where_the_fleet_has_no_credentials_for_one() -> None:
    async with node() as one, one.person() as alice:
        request = pb.ApplyRequest(spec_json=encode(replace(spec_of(), canary=True)))
        with pytest.raises(grpc.aio.AioRpcError, match="canary: True, but control1 has no credentials"):
            await alice.Apply(request, timeout=WITHIN_S)
        assert one.specs.stored == {}


async def test_two_people_who_apply_at_once_do_not_overwrite_each_other() -> None:
    async with node() as one, one.person() as alice:
        one.specs.interferes = True
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await alice.Apply(pb.ApplyRequest(spec_json=encode(spec_of())), timeout=WITHIN_S)
        assert caught.value.code() is grpc.StatusCode.ABORTED
