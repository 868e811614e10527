"""Every step of every change of the rule, at small sizes: whoever may be promoted in it has what was acknowledged.

The twin knows nothing of bounds: it counts who has a commit. While a change is open the primary may act on either
rule (R6), so a commit counts as acknowledged as soon as one of the two is satisfied.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise, product

import pytest

from common.facts import SealReport
from common.ids import MemberName
from common.rule import SOLO, Rule, Voter, steps
from orchestrator.core.quorum import resolve_all
from orchestrator.core.record import Prior
from tests.core.builders import any_of, seal

_NAMES = "bcd"
_GROUPS = ("b", "c", "d", "bc", "bd", "cd", "bcd")
_RULES = (SOLO, *(any_of(k, *group) for group in _GROUPS for k in range(1, len(group) + 1)))
_SUBSETS = [
    tuple(n for n, chosen in zip(_NAMES, bits, strict=True) if chosen) for bits in product((0, 1), repeat=3)
]


def _open_changes() -> Iterator[tuple[Rule, Rule]]:
    """Each once: both rules that the record lists during some step of some change."""
    seen = set()
    for a, b in product(_RULES, repeat=2):
        way = [a, *steps(a, b)]
        for pair in pairwise(way):
            if pair not in seen:
                seen.add(pair)
                yield pair


def _acknowledged(rule: Rule, has: Mapping[str, int], primary: int) -> int:
    """Up to where commits were acknowledged under this rule; alone, everything that the primary has."""
    if not rule.waits:
        return primary
    return sorted((has[v.member] for v in rule.voters), reverse=True)[rule.k - 1]


@pytest.mark.covers("S56", "T4")
def test_whoever_may_be_promoted_inside_a_rule_change_has_everything_acknowledged() -> None:
    judged = 0
    for a, b in _open_changes():
        priors = tuple(Prior(3, MemberName("a"), 1, rule) for rule in (a, b))
        for ends in product((1, 2, 3), repeat=3):
            has = dict(zip(_NAMES, ends, strict=True))
            primary = max(ends)
            acknowledged = max(_acknowledged(rule, has, primary) for rule in (a, b))
            for sealed, with_primary in product(_SUBSETS, (False, True)):
                reports: dict[Voter, SealReport] = {Voter(MemberName(n), 1): seal(n, has[n]) for n in sealed}
                if with_primary:
                    reports[Voter(MemberName("a"), 1)] = seal("a", primary)
                resolutions = resolve_all(priors, reports)
                bounds = [r.bound for r in resolutions if r.bound is not None]
                if len(bounds) < 2:
                    continue  # nobody may be promoted
                for report in reports.values():
                    if report.position >= max(bounds):
                        judged += 1
                        assert report.end_lsn >= acknowledged, (str(a), str(b), has, sealed, with_primary)
    assert judged > 10_000
