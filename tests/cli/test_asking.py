"""Which control node is asked, what happens when one is lost, and what the exit codes say."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from orchestrator.cli import control
from orchestrator.cli.grpc_words import Verdict, verdict_of, why
from protos import operator_pb2 as pb
from tests.cli.conftest import Primacy
from tests.cli.scripted import Certificates, Node, cluster, progress, status_reply, succeeded

EXAMPLE = str(Path(__file__).parents[2] / "deploy" / "examples" / "cluster.toml")
NOBODY = "127.0.0.1:1"


def test_the_next_control_node_is_asked_when_the_first_is_away(primacy: Primacy, node: Node) -> None:
    node.says("Status", status_reply(cluster()))
    result = primacy([NOBODY, node.address], "status", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)[0]["cluster"] == "shop"


def test_who_does_not_lead_sends_us_to_who_does(primacy: Primacy, make_node: Callable[[], Node]) -> None:
    follower, leader = make_node(), make_node()
    follower.does_not_lead(leader)
    leader.says("Status", status_reply(cluster()))
    assert primacy([follower], "status").exit_code == 0
    assert leader.times_asked("Status") == 1


def test_an_election_is_waited_for(primacy: Primacy, node: Node) -> None:
    leads = status_reply(cluster())

    def at_the_third_time(request: Any, context: grpc.ServicerContext) -> Any:
        if node.times_asked("Status") < 3:
            context.abort(grpc.StatusCode.UNAVAILABLE, "control2 does not lead, and knows of nobody who does")
        return leads(request, context)

    node.says("Status", at_the_third_time)
    result = primacy([node], "status")
    assert result.exit_code == 0
    assert "does not lead, and knows of nobody who does" in result.stderr


def test_with_nobody_there_each_address_is_named_with_what_happened(primacy: Primacy) -> None:
    result = primacy([NOBODY], "status", "--json")
    assert result.exit_code == 4
    assert not result.stdout
    assert "127.0.0.1:1: connection refused" in result.stderr


def test_a_fleet_of_another_authority_is_told_from_one_that_is_down(
    primacy: Primacy, node: Node, tmp_path: Path
) -> None:
    stranger = Certificates(tmp_path)
    result = primacy([node], "status", PRIMACY_TLS_CA=str(stranger.ca_file))
    assert result.exit_code == 4
    assert "not signed by our authority (--tls-ca)" in result.stderr


def test_an_unknown_cluster_is_bad_input(primacy: Primacy, node: Node) -> None:
    node.says("Status", status_reply(cluster()))
    result = primacy([node], "status", "shpo")
    assert result.exit_code == 2
    assert "there is no cluster 'shpo'; known: shop" in result.stderr


def test_a_certificate_without_the_right_is_refused(primacy: Primacy, node: Node) -> None:
    def forbid(_: Any, context: grpc.ServicerContext) -> Any:
        context.abort(grpc.StatusCode.PERMISSION_DENIED, "a certificate of operator:NAME is wanted")

    node.says("Apply", forbid)
    result = primacy([node], "cluster", "apply", EXAMPLE)
    assert result.exit_code == 3
    assert "operator:NAME is wanted" in result.stderr


def test_applying_says_the_changes_in_words(primacy: Primacy, node: Node) -> None:
    changes = ["new member d on db4", "k: 1 to 2"]
    node.says("Apply", lambda _, __: pb.ApplyReply(changed=True, changes=changes))
    result = primacy([node], "cluster", "apply", EXAMPLE)
    assert result.exit_code == 0
    assert [line.strip() for line in result.stdout.splitlines()[:2]] == changes
    assert json.loads(node.asked[0][1].spec_json)["name"] == "shop"
    assert not node.asked[0][1].dry_run


def test_a_dry_run_says_so_and_is_one_for_the_server_too(primacy: Primacy, node: Node) -> None:
    node.says("Apply", lambda _, __: pb.ApplyReply(changed=True, changes=["k: 1 to 2"]))
    result = primacy([node], "cluster", "apply", EXAMPLE, "--dry-run")
    assert "dry run" in result.stdout
    assert node.asked[0][1].dry_run


def test_nothing_is_sent_when_the_file_is_wrong(primacy: Primacy, node: Node, tmp_path: Path) -> None:
    file = tmp_path / "shop.toml"
    file.write_text('name = "shop"\n')
    result = primacy([node], "cluster", "apply", str(file))
    assert result.exit_code == 2
    assert "zone: is missing" in result.stderr
    assert not node.asked


def test_mistakes_that_only_the_leader_can_see_come_with_the_file(primacy: Primacy, node: Node) -> None:
    def wrong(_: Any, context: grpc.ServicerContext) -> Any:
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "zone: nobody publishes it\nk: too high")

    node.says("Apply", wrong)
    result = primacy([node], "cluster", "apply", EXAMPLE, COLUMNS="300")
    assert result.exit_code == 2
    assert f"{EXAMPLE}: zone: nobody publishes it\n{EXAMPLE}: k: too high" in result.stderr


def test_a_switchover_goes_on_at_the_next_node_under_the_same_id(
    primacy: Primacy, make_node: Callable[[], Node]
) -> None:
    first, second = make_node(), make_node()

    def dies_halfway(_: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        yield progress("sealing", "a stops", 12)
        context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")

    def goes_on(_: Any, __: Any) -> Iterator[Any]:
        yield progress("sealing", "a stops", 12)
        yield progress("promoting", "b", 300)
        yield succeeded("b is the primary", 400, outage_ms=312)

    first.says("Switchover", dies_halfway)
    second.says("Switchover", goes_on)
    result = primacy([first, second], "switchover", "shop")
    assert result.exit_code == 0
    assert result.stdout.count("a stops") == 1
    assert result.stdout.count("DONE") == 1
    assert f"leaving {first.address}: the connection broke" in result.stderr
    ids = {request.request_id for node in (first, second) for _, request in node.asked}
    assert len(ids) == 1


def test_a_silent_operation_is_left_when_its_node_no_longer_answers(
    primacy: Primacy, make_node: Callable[[], Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.cli.operation.SILENT_S", 0.2)
    monkeypatch.setattr(control, "CONNECT_WITHIN_S", 0.3)
    frozen, second = make_node(), make_node()

    def hangs(_: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        yield progress("sealing", "a stops", 12)
        while context.is_active():
            time.sleep(0.05)

    def no_status(_: Any, context: grpc.ServicerContext) -> Any:
        context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")

    frozen.says("Switchover", hangs)
    frozen.says("Status", no_status)
    second.says("Switchover", lambda _, __: iter([succeeded("b is the primary", 400)]))
    result = primacy([frozen, second], "switchover", "shop")
    assert result.exit_code == 0
    assert "fell silent" in result.stderr


def test_an_operation_that_is_lost_sight_of_ends_with_how_to_look_again(
    primacy: Primacy, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.cli.operation.LOST_WITHIN_MS", 300)

    def dies(_: Any, __: Any) -> Iterator[Any]:
        yield progress("sealing", "a stops", 12)
        node.dies()

    node.says("Failover", dies)
    result = primacy([node], "failover", "shop", "--force")
    assert result.exit_code == 1
    assert "UNKNOWN" in result.stdout
    request_id = node.asked[0][1].request_id
    assert f"primacy failover shop --force --request-id {request_id}" in " ".join(result.stdout.split())


def test_an_operation_whose_leader_was_lost_behind_the_one_that_was_asked_is_looked_for(
    primacy: Primacy, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen in CI: three leaders died in turn, which took longer than an election may."""
    monkeypatch.setattr(control, "LEADER_WITHIN_MS", 300)

    def passes_on(_: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        if node.times_asked("Switchover") == 1:
            context.set_trailing_metadata((("primacy-may-have-begun", "1"),))
            context.abort(grpc.StatusCode.UNAVAILABLE, "control1 lost the leader at control2: Socket closed")
        if node.times_asked("Switchover") < 6:
            context.abort(grpc.StatusCode.UNAVAILABLE, "control1 does not lead, and knows of nobody who does")
        yield succeeded("b is the primary", 400)

    node.says("Switchover", passes_on)
    result = primacy([node], "switchover", "shop")
    assert result.exit_code == 0
    assert result.stdout.count("DONE") == 1
    assert "it may have begun; looking for who leads now" in result.stderr
    assert len({request.request_id for _, request in node.asked}) == 1


def test_an_operation_that_nobody_can_have_begun_is_not_looked_for(
    primacy: Primacy, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "LEADER_WITHIN_MS", 300)
    node.does_not_lead(None)
    result = primacy([node], "switchover", "shop")
    assert result.exit_code == 4
    assert "UNKNOWN" not in result.stdout


def test_a_refusal_after_a_lost_answer_does_not_say_that_nothing_was_changed(
    primacy: Primacy, make_node: Callable[[], Node]
) -> None:
    lost, forbids = make_node(), make_node()

    def breaks(_: Any, context: grpc.ServicerContext) -> Any:
        context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")

    def conflicts(_: Any, context: grpc.ServicerContext) -> Any:
        context.abort(grpc.StatusCode.ABORTED, "shop was changed by somebody else in the same moment")

    lost.says("Apply", breaks)
    forbids.says("Apply", conflicts)
    result = primacy([lost, forbids], "cluster", "apply", EXAMPLE)
    assert result.exit_code == 1
    assert "the outcome is not known: an answer was lost, and then: shop was changed" in result.stderr


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [
        pytest.param(grpc.StatusCode.INTERNAL, 1, id="a_failure_of_its_own"),
        pytest.param(grpc.StatusCode.UNIMPLEMENTED, 3, id="it_is_older_and_has_not_begun"),
    ],
)
def test_what_the_leader_itself_can_not_do_is_told_at_once(
    primacy: Primacy, node: Node, code: grpc.StatusCode, exit_code: int
) -> None:
    def fails(_: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        context.abort(code, "no such thing")

    node.says("Switchover", fails)
    result = primacy([node], "switchover", "shop")
    assert result.exit_code == exit_code
    assert ("UNKNOWN" in result.stdout) == (exit_code == 1)
    assert "no such thing" in result.stdout + result.stderr
    assert node.times_asked("Switchover") == 1


@pytest.mark.parametrize(
    ("details", "said", "verdict"),
    [
        ("Socket closed", "the connection broke", Verdict.LOST),
        (
            "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: Failed to connect to "
            "remote host: connect: Connection refused (111)",
            "connection refused",
            Verdict.LOST,
        ),
        (
            "control1 could not reach the leader at 10.77.1.3:7432: Socket closed",
            "control1 could not reach the leader at 10.77.1.3:7432: Socket closed",
            Verdict.NOT_LEADING,
        ),
        ("etcd does not answer: deadline", "etcd does not answer: deadline", Verdict.NOT_LEADING),
    ],
)
def test_a_servers_words_are_told_from_those_of_a_broken_connection(
    details: str, said: str, verdict: Verdict
) -> None:
    error = grpc.aio.AioRpcError(
        grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), details
    )
    assert (verdict_of(error), why(error)) == (verdict, said)
