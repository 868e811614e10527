"""What an agent is told as it comes, and when it is told anew."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

from common.codec import decode
from common.ids import MemberName
from common.profile import DEFAULT, PATIENT, Profile
from orchestrator.core.spec import ClusterSpec, MemberSpec
from orchestrator.shell.welcomes import Welcomes
from tests.orchestrator.fakes import SHOP

A, B, C = (MemberName(name) for name in "abc")
SPEC = ClusterSpec(
    SHOP,
    "db.example.",
    tuple(
        MemberSpec(name, f"host-{name}", (f"10.0.0.{n}", f"192.0.2.{n}"))
        for n, name in enumerate((A, B, C), 1)
    ),
)


def welcomes(spec: ClusterSpec | None) -> tuple[Welcomes, Any]:
    case = SimpleNamespace(spec=spec)
    return Welcomes("control1", cast("Any", {SHOP: case}), lambda: 7), case


def test_an_agent_is_told_its_timings_and_where_the_other_members_are() -> None:
    told, _ = welcomes(SPEC)
    welcome = told.welcome(told.wanted(SHOP, B))
    assert (welcome.leader, welcome.term) == ("control1", 7)
    assert list(welcome.peers) == ["10.0.0.1", "192.0.2.1", "10.0.0.3", "192.0.2.3"]
    assert decode(welcome.profile.encode(), Profile) == DEFAULT


def test_it_is_the_same_until_somebody_applies_something_else() -> None:
    told, case = welcomes(SPEC)
    first = told.wanted(SHOP, A)
    assert told.wanted(SHOP, A) is first
    case.spec = replace(SPEC, profile="patient", members=SPEC.members[:2])
    assert told.wanted(SHOP, A) == (PATIENT, ("10.0.0.2", "192.0.2.2"))


def test_without_a_specification_yet_it_keeps_to_the_default() -> None:
    told, _ = welcomes(None)
    assert told.wanted(SHOP, A) == (DEFAULT, ())
