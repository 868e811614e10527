"""What people and scripts see: every fact is there, nothing is too wide, and stdout is JSON when asked."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from common.codec import decode, encode
from common.ids import ClusterName, MemberName
from orchestrator.cli import words
from orchestrator.core.status import CanaryLine, CandidateLine, ClusterStatus, ReasonLine
from orchestrator.telemetry.incident import Incident, RefusedLine, Step
from protos import operator_pb2 as pb
from tests.cli.conftest import Primacy
from tests.cli.scripted import Node, cluster, member, primary, progress, status_reply, succeeded

TROUBLED = cluster(
    "billing",
    whole=False,
    settled=False,
    diagnosis="QuorumAtRisk",
    rule="ANY 1 (b.1, c.1) -> solo",
    reasons=(ReasonLine("last_voter_lost", "b", "silent for 1203 ms, limit 1000 ms"),),
    members=(
        primary("a"),
        member("b", state="silent", heard_age_ms=73_000, error="no entry in pg_hba.conf [FATAL]"),
        member("c", role="stopped", state="rebuilding", activity="cloning from a: 412 of 1024 MiB"),
    ),
    candidates=(
        CandidateLine(MemberName("a"), False, "is_primary", ""),
        CandidateLine(MemberName("b"), False, "silent", "heard 73 s ago, limit 600 ms"),
        CandidateLine(MemberName("c"), False, "rebuilding", "since 12 s"),
    ),
)


def one_space(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("words", [("status",), ("status", "shop"), ("status", "billing")])
def test_a_status_fits_80_columns(primacy: Primacy, node: Node, words: tuple[str, ...]) -> None:
    node.says("Status", status_reply(cluster(), TROUBLED))
    lines = primacy([node], *words).stdout.splitlines()
    assert lines
    assert max(len(line) for line in lines) <= 80


def test_the_fleet_shows_trouble_first(primacy: Primacy, node: Node) -> None:
    node.says("Status", status_reply(cluster(), TROUBLED))
    out = primacy([node], "status").stdout
    assert out.index("billing") < out.index("shop")
    assert "NOT WHOLE: QuorumAtRisk" in out
    assert "2 clusters, 1 not whole" in out


def test_a_fleet_without_clusters_says_how_to_make_one(primacy: Primacy, node: Node) -> None:
    node.says("Status", status_reply())
    assert "primacy cluster apply FILE" in primacy([node], "status").stdout


def test_a_healthy_cluster_is_told_in_few_lines(primacy: Primacy, node: Node) -> None:
    node.says("Status", status_reply(cluster()))
    out = primacy([node], "status", "shop").stdout
    seen = one_space(out)
    for fact in (
        "shop WHOLE Healthy",
        "primary a phase STABLE epoch 7",
        "rule ANY 1 (b.1, c.1)",
        "a primary serving 3@0/5000A30 - 31 ms ok 210 ms 12 GiB",
        "next primary b, then c",
        "primary.shop.db.example. -> 10.77.3.1 confirmed",
        "control2, term 812, revision 4711",
    ):
        assert fact in seen
    assert "CAN'T BE PRIMARY" not in out


def test_a_troubled_cluster_names_every_reason_with_its_measured_value(primacy: Primacy, node: Node) -> None:
    node.says("Status", status_reply(TROUBLED))
    seen = one_space(primacy([node], "status", "billing").stdout)
    for fact in (
        "NOT WHOLE QuorumAtRisk",
        "wanted ANY 1 (b.1, c.1) not settled",
        "because b: last voter lost (silent for 1203 ms, limit 1000 ms)",
        "b: no entry in pg_hba.conf [FATAL]",
        "c: cloning from a: 412 of 1024 MiB",
        "nobody: a failover now would be refused",
        "b silent heard 73 s ago, limit 600 ms",
        "c rebuilding since 12 s",
    ):
        assert fact in seen


def test_a_status_as_json_is_the_servers_document_and_nothing_else(primacy: Primacy, node: Node) -> None:
    node.says("Status", status_reply(TROUBLED))
    result = primacy([node], "status", "billing", "--json")
    assert decode(result.stdout.encode(), ClusterStatus) == TROUBLED
    assert len(result.stdout.splitlines()) == 1


@pytest.mark.parametrize(("status", "code"), [(cluster(), 0), (TROUBLED, 5)])
def test_the_exit_code_says_whether_it_is_whole_when_asked(
    primacy: Primacy, node: Node, status: ClusterStatus, code: int
) -> None:
    node.says("Status", status_reply(status))
    assert primacy([node], "status", status.cluster, "--exit-code").exit_code == code
    assert primacy([node], "status", status.cluster).exit_code == 0


def test_a_newer_server_may_say_more(primacy: Primacy, node: Node) -> None:
    document = {**json.loads(encode(cluster())), "moon_phase": "full"}
    node.says("Status", lambda _, __: pb.StatusReply(json=json.dumps(document).encode()))
    assert primacy([node], "status", "shop").exit_code == 0


def test_an_escape_sequence_of_a_server_does_not_reach_the_terminal(primacy: Primacy, node: Node) -> None:
    bad = cluster(members=(primary("a", error="\x1b[31mred\x1b[0m"),))
    node.says("Status", status_reply(bad))
    assert "\x1b" not in primacy([node], "status", "shop").stdout


def steps(*them: pb.OperationStep) -> Any:
    return lambda _, __: iter(them)


def test_a_switchover_prints_its_steps_and_one_outcome_with_the_outage(primacy: Primacy, node: Node) -> None:
    done = succeeded("b is the primary of epoch 8", 398, outage_ms=312)
    node.says("Switchover", steps(progress("sealing", "a stops cleanly", 12), done))
    result = primacy([node], "switchover", "shop", "--to", "b")
    assert result.exit_code == 0
    lines = [one_space(line) for line in result.stdout.splitlines()]
    assert lines == [
        "+ 12 ms sealing a stops cleanly",
        "DONE b is the primary of epoch 8. Outage 312 ms ± 20 ms.",
    ]
    assert node.asked[0][1].to == "b"


def test_an_outage_that_was_not_measured_is_not_called_none(primacy: Primacy, node: Node) -> None:
    node.says("Switchover", steps(succeeded("b is the primary", 398)))
    assert "The outage could not be measured." in primacy([node], "switchover", "shop").stdout


REFUSED = pb.OperationStep(
    kind=pb.STEP_REFUSED,
    name="refused",
    text="no member can be the primary",
    refusals=[
        pb.Refusal(member="b", reason="too_far_behind", text="312 MiB to replay; limit 5 s"),
        pb.Refusal(member="c", reason="silent", text="heard 73 s ago, limit 600 ms"),
    ],
)


def test_a_refusal_names_every_member_with_reason_and_measured_value(primacy: Primacy, node: Node) -> None:
    node.says("Failover", steps(REFUSED))
    result = primacy([node], "failover", "shop")
    assert result.exit_code == 3
    seen = one_space(result.stdout)
    assert "b too far behind 312 MiB to replay; limit 5 s" in seen
    assert "c silent heard 73 s ago, limit 600 ms" in seen
    assert seen.endswith("REFUSED no member can be the primary. Nothing was changed.")


def test_a_failure_after_the_beginning_has_a_code_of_its_own(primacy: Primacy, node: Node) -> None:
    failed = pb.OperationStep(kind=pb.STEP_FAILED, name="failed", text="no candidate was left")
    node.says("Failover", steps(progress("sealing", "asking", 3), failed))
    result = primacy([node], "failover", "shop")
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-1].startswith("FAILED  no candidate was left")


def test_an_operation_as_json_is_a_line_for_each_step(primacy: Primacy, node: Node) -> None:
    node.says("Switchover", steps(progress("sealing", "a", 12), succeeded("b", 398, outage_ms=312)))
    lines = [json.loads(line) for line in primacy([node], "switchover", "shop", "--json").stdout.splitlines()]
    assert [line["kind"] for line in lines] == ["progress", "succeeded"]
    assert lines[-1]["outage"] == {"outage_ms": 312, "uncertainty_ms": 20}


INCIDENT = Incident(
    ClusterName("shop"),
    8,
    1_795_484_531_123,
    "the postmaster of a died",
    "3f2a",
    (
        Step("suspected", "its postmaster died, signal 9", 1_795_484_531_123, 0, MemberName("a")),
        Step("promoted", "timeline 4", 1_795_484_531_301, 178, MemberName("b")),
    ),
    (RefusedLine(MemberName("c"), "ranked_lower", "same position, name after b"),),
    335,
    20,
    0,
    "succeeded",
)


def history_reply(*incidents: Incident) -> Any:
    return lambda _, __: pb.HistoryReply(incidents_json=[encode(incident) for incident in incidents])


def test_history_tells_each_step_what_it_cost_and_who_was_not_chosen(primacy: Primacy, node: Node) -> None:
    node.says("History", history_reply(INCIDENT, replace(INCIDENT, epoch=7, outcome="", outage_ms=None)))
    result = primacy([node], "history", "shop", "--limit", "2")
    assert result.exit_code == 0
    assert node.asked[0][1].limit == 2
    seen = one_space(result.stdout)
    for fact in (
        "epoch 8 ",
        "succeeded operation 3f2a",
        "cause: the postmaster of a died",
        "+178 ms promoted timeline 4",
        "c ranked lower same position, name after b",
        "outage 335 ms ± 20 ms data lost nothing that was acknowledged",
        "epoch 7 ",
        "outage not measured data lost not known yet",
    ):
        assert fact in seen
    assert max(len(line) for line in result.stdout.splitlines()) <= 80


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"outage_by": "canary"}, "outage 335 ms ± 20 ms (seen by the canary)"),
        (
            {"outage_by": "canary", "outage_at_least": True},
            "outage at least 335 ms ± 20 ms (seen by the canary)",
        ),
        ({"outage_by": "probes"}, "outage 335 ms ± 20 ms (estimated: no canary saw it)"),
        (
            {"outage_by": "probes", "canary_part_ms": 120},
            "outage 335 ms ± 20 ms (estimated; the canary saw at least 120 ms)",
        ),
        ({}, "outage 335 ms ± 20 ms data lost"),
    ],
)
def test_history_says_who_saw_the_outage_and_whether_all_of_it(
    primacy: Primacy, node: Node, more: dict[str, Any], said: str
) -> None:
    node.says("History", history_reply(replace(INCIDENT, **more)))
    result = primacy([node], "history", "shop")
    assert said in one_space(result.stdout)
    assert max(len(line) for line in result.stdout.splitlines()) <= 80
    document = json.loads(primacy([node], "history", "shop", "--json").stdout)
    assert document[0]["outage_by"] == more.get("outage_by", "")


@pytest.mark.parametrize(
    ("canary", "said"),
    [
        (
            CanaryLine("writing", 12, 1_250, 90_000, ""),
            "canary writing, acknowledged 12 ms ago longest gap 1.25 s, 1 min 30 s ago",
        ),
        (
            CanaryLine("waiting", None, None, None, "10.77.3.1:5432 lets nobody in"),
            "canary waiting: 10.77.3.1:5432 lets nobody in",
        ),
    ],
)
def test_a_status_says_how_the_canary_is(primacy: Primacy, node: Node, canary: CanaryLine, said: str) -> None:
    node.says("Status", status_reply(cluster(canary=canary)))
    assert said in one_space(primacy([node], "status", "shop").stdout)
    assert "canary" in json.loads(primacy([node], "status", "shop", "--json").stdout)


def test_history_as_json_is_one_list_newest_first(primacy: Primacy, node: Node) -> None:
    node.says("History", history_reply(INCIDENT, replace(INCIDENT, epoch=7)))
    document = primacy([node], "history", "shop", "--json").stdout
    assert [incident["epoch"] for incident in json.loads(document)] == [8, 7]


@pytest.mark.parametrize(
    ("ms", "said"),
    [
        (0, "0 ms"),
        (999, "999 ms"),
        (1_250, "1.25 s"),
        (59_999, "60.0 s"),
        (200_000, "3 min 20 s"),
        (7_500_000, "2 h 05 min"),
    ],
)
def test_durations_are_said_as_people_would(ms: int, said: str) -> None:
    assert words.duration(ms) == said


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (None, "-"),
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.5 KiB"),
        (16 << 20, "16 MiB"),
        (3 << 40, "3.0 TiB"),
        (1 << 60, "1024 PiB"),
    ],
)
def test_sizes_are_said_in_binary_units(count: int | None, said: str) -> None:
    assert words.size(count) == said
