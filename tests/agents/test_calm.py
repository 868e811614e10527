"""When the agent of a primary that crashed keeps calm."""

from __future__ import annotations

import pytest

from agents.calm import Calm
from agents.core.recipe_seal import STANDBYS_FIRST_MS
from common.ids import MemberName
from common.rule import ASYNC, SOLO, Rule, Voter, quorum
from common.timebase import Instant, after_ms

_WAITS = quorum([Voter(MemberName("b"), 1), Voter(MemberName("c"), 1)], 1)
_DIED_AT = Instant(7_000_000)


@pytest.mark.parametrize(
    ("served", "ordered", "left_ms"),
    [
        pytest.param(_WAITS, False, STANDBYS_FIRST_MS, id="others_take_over"),
        pytest.param(_WAITS, True, 0, id="it_was_told_to_stop"),
        pytest.param(None, False, 0, id="it_was_a_standby"),
        pytest.param(SOLO, False, 0, id="it_served_alone"),
        pytest.param(ASYNC, False, 0, id="it_waits_for_nobody"),
    ],
)
def test_the_agent_of_a_primary_that_crashed_measures_nothing_while_others_take_over(
    served: Rule | None, ordered: bool, left_ms: int
) -> None:
    calm = Calm()
    assert calm.left_s(_DIED_AT) == 0
    calm.died(_DIED_AT, ordered=ordered, served=served)
    assert calm.left_s(_DIED_AT) == pytest.approx(left_ms / 1_000)
    assert calm.left_s(after_ms(_DIED_AT, left_ms // 3)) == pytest.approx(left_ms / 1_500)
    assert calm.left_s(after_ms(_DIED_AT, STANDBYS_FIRST_MS)) == 0
