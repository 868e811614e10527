"""Has somebody stored a later incarnation than the record knows? (protocol.md, R14)

Pure. An etcd that went back inside an epoch forgets which numbers it gave. Given again, a number would name another
incarnation in a rule that already counts it, and one that forgot would vote (R13).
"""

from __future__ import annotations

import re
from functools import lru_cache

from common.facts import Facts
from common.ids import MemberName, parse_application_name
from orchestrator.core.record import Record

_QUOTED = re.compile(r'"([^"]+)"')


def newer_incarnation(record: Record, facts: Facts) -> str:
    """Words for people; empty while the record knows every number that this member stored, or has in force."""
    for name, number in ((facts.member, facts.highest_number), *_numbers_in(facts.rule_in_force or "")):
        member = record.member(name)
        if member is not None and number > member.number:
            known = f"the record knows {member.number}" if member.number else "the record knows none"
            return f"{facts.member} knows incarnation {number} of {name}, {known}"
    return ""


@lru_cache(maxsize=65_536)  # every turn asks, and the answers change with the rules alone
def _numbers_in(synchronous_standby_names: str) -> tuple[tuple[MemberName, int], ...]:
    found = (parse_application_name(name) for name in _QUOTED.findall(synchronous_standby_names))
    return tuple((ours[0], ours[1]) for ours in found if ours is not None)
