"""How commits wait: the (V, k) arithmetic (protocol.md, "Words", R2, R5, R6).

Pure. PostgreSQL counts flush replies of the standbys named in
`synchronous_standby_names` (PostgreSQL manual, section 20.6.2); names carry member,
incarnation and epoch, so that it counts nobody else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from functools import lru_cache

import msgspec

from common.ids import FENCE_NAME, MemberName, application_name

FENCE = f"ANY 1 ({FENCE_NAME})"
"""A rule that nobody can satisfy: nothing is acknowledged."""


class RuleKind(StrEnum):
    QUORUM = "quorum"
    SOLO = "solo"
    ASYNC = "async"


class Voter(msgspec.Struct, frozen=True, gc=False, order=True):
    """One incarnation of a member; a rebuilt member is another voter (R13)."""

    member: MemberName
    number: int

    def __str__(self) -> str:
        return f"{self.member}.{self.number}"


class Rule(msgspec.Struct, frozen=True, gc=False):
    """`voters` is sorted and without repeats; solo and async have none, and k = 0."""

    kind: RuleKind
    voters: tuple[Voter, ...] = ()
    k: int = 0

    def __post_init__(self) -> None:
        if self.voters != tuple(sorted(set(self.voters))):
            raise ValueError(f"the voters must be sorted and distinct: {self}")
        if self.kind is RuleKind.QUORUM:
            if not 1 <= self.k <= len(self.voters):
                raise ValueError(f"k must lie between 1 and the number of voters: {self}")
            if len({voter.member for voter in self.voters}) != len(self.voters):
                raise ValueError(f"a member votes under one incarnation only: {self}")
        elif self.voters or self.k:
            raise ValueError(f"{self.kind} has no voters")

    def __str__(self) -> str:
        if self.kind is not RuleKind.QUORUM:
            return str(self.kind)
        return f"ANY {self.k} ({', '.join(map(str, self.voters))})"

    @property
    def waits(self) -> bool:
        return self.kind is RuleKind.QUORUM

    @property
    def seals_needed(self) -> int:
        """How many sealed voters make a further acknowledgement impossible (R2 a)."""
        return len(self.voters) - self.k + 1

    def synchronous_standby_names(self, epoch: int) -> str:
        """The setting's text in this epoch; empty for solo and async."""
        return "" if self.kind is not RuleKind.QUORUM else _counting(self.voters, self.k, epoch)


@lru_cache(maxsize=16_384)  # the same few are asked for with every probe, report and look
def _counting(voters: tuple[Voter, ...], k: int, epoch: int) -> str:
    names = ",".join(f'"{application_name(v.member, v.number, epoch)}"' for v in voters)
    return f"ANY {k} ({names})"


SOLO = Rule(RuleKind.SOLO)
ASYNC = Rule(RuleKind.ASYNC)


def quorum(voters: Iterable[Voter], k: int) -> Rule:
    """(V, k) with k cut to |V|; solo when nobody can vote."""
    chosen = tuple(sorted(set(voters)))
    if not chosen:
        return SOLO
    return Rule(RuleKind.QUORUM, chosen, min(max(k, 1), len(chosen)))


def is_one_step(a: Rule, b: Rule) -> bool:
    """Whether R6 allows the change from a to b in one step."""
    if a == b:
        return False
    if not (a.waits and b.waits):
        return True  # to or from solo or async
    if a.voters == b.voters:
        return True  # only k
    if a.k != b.k:
        return False
    old, new = set(a.voters), set(b.voters)
    return old < new or new < old


def steps(a: Rule, b: Rule) -> Iterator[Rule]:
    """The rules on the way from a to b, b last; each is one step from the one before it.

    k is lowered before voters leave and raised after they came, so that every rule on the way
    is one that the smaller set can satisfy. Voters who leave go before new ones come.
    """
    if a == b:
        return
    if is_one_step(a, b):
        yield b
        return
    at = a
    kept = tuple(sorted(set(a.voters) & set(b.voters)))
    if not kept:
        # Nobody stays: the newcomers join first, so that the primary is never without voters.
        both = tuple(sorted(set(a.voters) | set(b.voters)))
        if len({voter.member for voter in both}) < len(both):
            # The same member under two incarnations can't vote twice: through solo.
            yield SOLO
            yield b
            return
        way = [Rule(RuleKind.QUORUM, both, a.k)]
        if a.k > b.k:
            way.append(Rule(RuleKind.QUORUM, both, b.k))
            way.append(b)
        else:
            if a.k <= len(b.voters):
                way.append(Rule(RuleKind.QUORUM, b.voters, a.k))
            way.append(b)
    else:
        low = min(a.k, b.k, len(kept))
        way = [
            Rule(RuleKind.QUORUM, a.voters, low),
            Rule(RuleKind.QUORUM, kept, low),
            Rule(RuleKind.QUORUM, b.voters, low),
            b,
        ]
    for rule in way:
        if rule != at:
            yield rule
            at = rule


def next_step(a: Rule, b: Rule) -> Rule | None:
    """The first rule on the way from a to b; None when they are the same."""
    return next(steps(a, b), None)
