"""What people are shown of a cluster."""

from __future__ import annotations

import pytest

from common.facts import PostgresState
from common.ids import MemberName
from orchestrator.core.describe import describe
from orchestrator.core.record import Phase
from tests.core.builders import CLUSTER, NOW, heard, record, view


@pytest.mark.parametrize(
    ("phase", "expected"),
    [
        pytest.param(Phase.STABLE, "superseded", id="another_one_is_the_primary"),
        pytest.param(Phase.PROMOTING, "serving", id="nobody_else_is_yet"),
    ],
)
def test_an_old_primary_is_not_shown_as_serving_beside_the_new_one(phase: Phase, expected: str) -> None:
    """As it last said: it may be lost or cut off, and is silent for people only a second later."""
    new = MemberName("b" if phase is Phase.STABLE else "a")
    now = record(phase=phase, primary=new, candidate=None if phase is Phase.STABLE else MemberName("b"))
    old = heard("a", ms_ago=900, postgres=PostgresState.PRIMARY, open=True)
    seen = view(old, heard("b", postgres=PostgresState.PRIMARY, open=True), heard("c"), of=now)
    states = {str(line.name): line.state for line in describe(CLUSTER, seen, NOW).members}
    assert states["a"] == expected
