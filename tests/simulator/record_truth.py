"""What may be written into the record, by arithmetic of its own (R1 to R6, R13), beside the core's.

The core checks its records too (orchestrator/core/invariants.py), but with the very functions that it decides
by: one that counts wrongly there counts wrongly twice. Here everything is counted anew, from the record's
plain fields and from the world; nothing of `quorum`, `priors`, `candidates` or `rule` is called.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from common.assignment import Position
from common.facts import Facts, PostgresState, SealReport
from common.ids import MemberName
from common.lsn import ZERO, Lsn
from common.rule import Rule, RuleKind, Voter
from orchestrator.core.record import Phase, Prior, Record
from tests.simulator.check_forgetting import Forgetting
from tests.simulator.model_parts import RECORD, Entry
from tests.simulator.model_postgres import Postgres
from tests.simulator.violation import Violation

if TYPE_CHECKING:
    from tests.simulator.fleet import Fleet

_ON_ITS_WAY_US = 10_000
"""A report, the turn it leads to and the saving of the record take less."""
_ANSWERS_WITHIN_US = 3_300_000
"""A change is begun while the primary answers, and a voter is added on its report (R6): 3 s, in whole milliseconds (seed
1480011375), and what a clock may drift meanwhile (seed 10411044)."""
_RUNS = (PostgresState.STANDBY, PostgresState.PRIMARY)


class RecordTruth:
    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self._heard_at: dict[tuple[str, str], int] = {}
        """(control node, member)."""
        self._disk_of: dict[str, int] = {}
        """Incarnation → which of its member's disks was in when it spoke first."""
        self._streamed_at: dict[tuple[str, str], int] = {}
        """(primary, application name) → when the primary last reported it as streaming."""
        self._reported_at: dict[tuple[str, str], int] = {}
        """(control node, member) → when its last whole report came."""
        self._rebuilt: set[str] = set()
        """Incarnations that are no more."""
        self._candidates: dict[int, MemberName | None] = {}
        self._forgetting = Forgetting(fleet)

    def said(self, member: str, facts: Facts) -> None:
        self._disk_of.setdefault(facts.incarnation, self.fleet.postgres[member].disks)
        self._forgetting.said(member, facts)
        if facts.incarnation in self._rebuilt and facts.postgres in _RUNS:
            raise Violation(f"R9: {member} was rebuilt, and speaks as the same incarnation")

    def heard(self, node: str, member: str) -> None:
        self._heard_at[node, member] = self.fleet.world.now_us

    def reported(self, node: str, facts: Facts) -> None:
        now, member = self.fleet.world.now_us, facts.member
        self.heard(node, member)
        self._reported_at[node, member] = now
        for peer in facts.peers:
            if peer.state == "streaming":
                self._streamed_at[member, peer.application_name] = now

    def saved(self, old: Record | None, new: Record) -> None:
        broken = [] if old is None else list(self._broken(old, new))
        if broken:
            raise Violation("; ".join(broken))

    def saved_after_a_restore(self, new: Record) -> None:
        """R14 stops a leader that is told: where whoever had obeyed more was lost before this one heard it, the record is past
        that by the time that it is back (seed 10655551)."""
        etcd, leader = self.fleet.etcd, self.fleet.control.name
        if not etcd.must_stop or not etcd.obeyed_above or etcd.is_foreign:
            return
        if max(etcd.obeyed_above.values()).epoch >= new.epoch:
            return
        if all(self._heard_at.get((leader, name), 0) < etcd.restored_us for name in etcd.obeyed_above):
            etcd.must_stop = False
            self.fleet.world.count("records that went back, and nobody told in time")

    def _broken(self, old: Record, new: Record) -> Iterator[str]:
        yield from _members(old, new)
        yield from self._forgetting.broken(old, new)
        if new.phase is Phase.SEALING and old.phase is not Phase.SEALING:
            yield from _left(old, new)
            yield from self._out_of_reach(old, new)
        if new.phase is Phase.PROMOTING and old.phase is not Phase.PROMOTING:
            yield from self._chosen(old, new)
        if new.phase is Phase.STABLE and old.phase is Phase.STABLE:
            yield from self._changed(old, new)
        if old.prior and not new.prior:
            yield from self._settled(new)

    def _forgot(self, record: Record, voter: Voter) -> bool:
        """What it had is gone with its disk, or it is another one by now: then its log says nothing any more."""
        known = record.member(voter.member)
        if known is None or known.number != voter.number or known.incarnation is None:
            return True
        server, state = self.fleet.postgres[voter.member], self.fleet.agents[voter.member].state
        disk = self._disk_of.get(known.incarnation)
        return state.incarnation != known.incarnation or disk != server.disks

    # R7, R9

    def rebuilt(self, server: Postgres) -> None:
        """What it was is thrown away now: only what the record gave leave for, and nobody is that any more."""
        state, record = self.fleet.agents[server.member].state, self.fleet.etcd.record
        self._rebuilt.add(state.incarnation)
        known = None if record is None else record.member(state.member)
        if server.state is PostgresState.ABSENT or known is None or known.incarnation != state.incarnation:
            return
        if known.rebuild not in (None, state.destroyed):
            raise Violation(
                f"R7: {server.member} throws {state.destroyed} away, the leave is for {known.rebuild}"
            )

    # R5, R6, I7

    def acknowledged(self, member: str, timeline: int, entry: Entry) -> None:
        """As many have it as a rule asks for that the record lists for this primary in its epoch."""
        record, epoch = self.fleet.etcd.record, self.fleet.checkers.timeline_epoch(timeline)
        if record is None or self.fleet.etcd.went_back:
            return
        mine = record.candidate if record.phase is Phase.PROMOTING else record.primary
        if record.epoch == epoch and record.phase is not Phase.SEALING and mine == member:
            rules = record.rules
        else:  # superseded; where its priors were settled already, I2 is what counts
            rules = tuple(p.rule for p in record.prior if (p.epoch, p.primary) == (epoch, member))
        if rules and not any(self._met(rule, record, entry) for rule in rules):
            listed = [str(rule) for rule in rules]
            raise Violation(f"R5: row {entry.content} is acknowledged by {member}, and {listed} are not met")

    def _met(self, rule: Rule, record: Record, entry: Entry) -> bool:
        """As many of its voters have this row as it asks for, by content."""
        index = entry.start // RECORD - 1

        def has(voter: Voter) -> bool:
            log = self.fleet.postgres[voter.member].log
            return (index < len(log) and log[index] == entry) or self._forgot(record, voter)

        return sum(map(has, rule.voters)) >= rule.k

    # R1, "When"

    def _out_of_reach(self, old: Record, new: Record) -> Iterator[str]:
        by = new.operation
        if by is None or (old.phase is Phase.STABLE and by.kind != "automatic"):
            return  # a person asked for it
        leader, profile = self.fleet.control, self.fleet.profile
        # However irregularly a standby spoke, one that was silent for longer does not count as one that answers.
        slower_ms = 2 * (profile.beat_standby_every_ms - profile.beat_primary_every_ms)
        allowed_us = (profile.suspect_ceiling_ms + slower_ms) * (1_000 + profile.drift_permille)
        # Nor does one whose clock stood still know for how long it heard nobody.
        since = leader.decided_us - allowed_us - _ON_ITS_WAY_US - leader.hidden_us
        lost = old.primary if by.by == "PrimaryHostLost" and old.phase is Phase.STABLE else None
        there = {
            m.voter
            for m in old.members
            if m.name != lost and self._heard_at.get((leader.name, str(m.name)), 0) > since
        }
        for prior in new.prior:
            if prior.bound is None and not _resolvable(prior, there):
                yield f"R1: epoch {old.epoch} is left, and nobody who answers can resolve {prior}"
        # By what the file says now, which is saved with the epoch that begins.
        others = [m for m in new.members if m.voter in there and (not m.nofailover or m.name == old.primary)]
        if not [m for m in others if m.name != old.primary or old.phase is Phase.PROMOTING]:
            yield f"R1: epoch {old.epoch} is left, and nobody who answers can be the candidate"

    # R2 to R5

    def _chosen(self, old: Record, new: Record) -> Iterator[str]:
        if new.epoch in self._candidates:
            yield f"R4: {self._candidates[new.epoch]} was the candidate of epoch {new.epoch} already"
        self._candidates[new.epoch] = new.candidate
        sealed = {
            m.voter: seal
            for m in new.members
            if (seal := dict(new.seals).get(m.name)) is not None
            and (seal.epoch, seal.incarnation) == (new.epoch, m.incarnation)
        }
        yield from self._moved(new, sealed)
        bounds = {prior: _bound(prior, sealed) for prior in old.prior}
        kept = {(p.primary, p.number, p.rule): p.bound for p in new.prior}
        for prior, bound in bounds.items():
            if bound is None:
                yield f"R2: {prior} is not resolved"
                continue
            key = (prior.primary, prior.number, prior.rule)
            alike = [b for p, b in bounds.items() if (p.primary, p.number, p.rule) == key and b is not None]
            if kept.get(key) != max(alike):
                yield f"R3: {prior} is written with {kept.get(key)}, its bound is {max(alike)}"
        least = max((b for b in bounds.values() if b is not None), default=Position(0, ZERO))
        fit = [
            m
            for m in new.members
            if (s := sealed.get(m.voter)) is not None
            and not s.damaged
            and (not m.nofailover or m.name == old.primary)  # it takes nothing over
            and s.position >= least
        ]
        chosen = next((m for m in fit if m.name == new.candidate), None)
        if chosen is None:
            yield f"R3: {new.candidate} is not sealed, whole and at or above {least}"
            return
        mine = sealed[chosen.voter].position
        if new.candidate_position != mine:
            yield f"R3: {new.candidate} is sealed at {mine}, the record says {new.candidate_position}"
        if new.timeline_max <= old.timeline_max:
            yield f"R11: timeline {new.timeline_max} was allocated before"

        def attachable(position: Position) -> tuple[Voter, ...]:
            return tuple(
                m.voter
                for m in new.members
                if (s := sealed.get(m.voter)) is not None
                and not s.damaged
                and not m.nofailover
                and _lies_below(s.position, position, old)
            )

        yield from _r_new(new, set(attachable(mine)) - {chosen.voter})
        gave_up = {p.primary for p in old.prior} | {old.primary}
        fresh = [m for m in fit if m.name not in gave_up] or fit
        k = self.fleet.spec.k
        ranks = {
            m.name: (min(k, len({*attachable(sealed[m.voter].position)} - {m.voter})), m.priority)
            for m in fresh
        }
        here = ranks.get(chosen.name)
        if here is None or (new.handover is None and here < max(ranks.values())):
            yield f"R3: {new.candidate} is chosen, though there is a better one: {ranks}"

    def _moved(self, new: Record, sealed: dict[Voter, SealReport]) -> Iterator[str]:
        """R1, I8: who is sealed stands still, by its log, as far as it can be read, and not by its word."""
        for member in new.members:
            seal = sealed.get(member.voter)
            if seal is None or seal.damaged:
                continue
            same = self.fleet.agents[member.name].state.incarnation == seal.incarnation
            server = self.fleet.postgres[member.name]
            # A disk may be damaged after its member was sealed (seed 900000458).
            end = server.readable_end if server.damaged_from is None else server.scanned_end
            if same and end != seal.end_lsn and not self._forgot(new, member.voter):
                yield f"R1: {member.name} is sealed at {seal.end_lsn}, and its log ends at {Lsn(end)}"

    # R6

    def _changed(self, old: Record, new: Record) -> Iterator[str]:
        if old.rules == new.rules:
            return
        before = [set(rule.voters) for rule in old.rules]
        if (len(old.rules), len(new.rules)) == (1, 2):
            a, b = new.rules
            if a != old.rules[0] or new.target != b:
                yield f"R6: {old.rules} became {new.rules}, target {new.target}"
            leader = self.fleet.control
            silent_us = leader.decided_us - self._reported_at.get((leader.name, str(new.primary)), 0)
            if silent_us > _ANSWERS_WITHIN_US + leader.hidden_us:
                yield f"R6: a change to {b} is begun, and no report of {new.primary} came for {silent_us} us"
            if RuleKind.QUORUM is a.kind is b.kind:
                only_k = set(a.voters) == set(b.voters)
                only_v = a.k == b.k and (set(a.voters) < set(b.voters) or set(b.voters) < set(a.voters))
                if not only_k and not only_v:
                    yield f"R6: from {a} to {b} is more than one step"
            for voter in set(b.voters) - before[0]:
                name = f"{voter}@{new.epoch}"
                seen_at = self._streamed_at.get((str(new.primary), name), -_ANSWERS_WITHIN_US)
                if leader.decided_us - seen_at > _ANSWERS_WITHIN_US + leader.hidden_us:
                    yield f"R6: {voter} is added, and {new.primary} does not see it streaming"
        elif (len(old.rules), len(new.rules)) == (2, 1) and new.rules == (old.target,):
            yield from self._carried_over(new)
        else:
            yield f"R6: {old.rules} became {new.rules}, target {old.target}"

    def _carried_over(self, new: Record) -> Iterator[str]:
        """R6 (3): k of V have everything that was acknowledged, however it was."""
        acknowledged, rule = self.fleet.checkers.acknowledged, new.rules[0]
        if rule.kind is RuleKind.QUORUM and acknowledged and not self._met(rule, new, acknowledged[-1][1]):
            yield f"R6: the rule is {rule} now, and too few of them have row {acknowledged[-1][1].content}"

    def _settled(self, new: Record) -> Iterator[str]:
        """R5: k of V have the first record of the new timeline, by content."""
        promoted = self.fleet.checkers.promotions.get(new.epoch)
        rule = new.rules[0]
        if promoted is None or rule.kind is not RuleKind.QUORUM:
            return
        first = len(promoted[2])
        primary = self.fleet.postgres[promoted[0]].log
        if first >= len(primary):
            return  # a crash took it: nobody can have counted it
        have = [
            v.member
            for v in rule.voters
            if (len(log := self.fleet.postgres[v.member].log) > first and log[first] == primary[first])
            or self._forgot(new, v)
        ]
        if len(have) < rule.k:
            yield f"R5: prior is emptied, and only {have} of {rule} have the first record of epoch {new.epoch}"


def _members(old: Record, new: Record) -> Iterator[str]:
    """R13."""
    known = {m.name: m for m in old.members}
    for member in new.members:
        before = known.get(member.name)
        if before is None or before.incarnation == member.incarnation or before.incarnation is None:
            continue
        if member.number <= before.number:
            yield f"R13: {member.name} is another incarnation, and has the number {member.number} again"
    names = {m.name for m in new.members}
    for voter in {v for rule in new.rules for v in rule.voters}:
        if voter.member not in names:
            yield f"R13: {voter} left, and {[str(r) for r in new.rules]} names it"


def _left(old: Record, new: Record) -> Iterator[str]:
    if new.epoch != old.epoch + 1:
        yield f"R1: {old.phase} of epoch {old.epoch} is left for epoch {new.epoch}"
    who = old.primary if old.phase is Phase.STABLE else old.candidate
    number = old.the(who).number if who is not None else 0
    for rule in old.rules:
        if Prior(old.epoch, who or MemberName(""), number, rule) not in new.prior:
            yield f"R1: {who} may have acknowledged under {rule} in epoch {old.epoch}, and no prior says so"
    for prior in old.prior:
        if prior not in new.prior:
            yield f"R4: {prior} was dropped"


def _resolvable(prior: Prior, there: set[Voter]) -> bool:
    if Voter(prior.primary, prior.number) in there:
        return True
    rule = prior.rule
    return rule.kind is RuleKind.QUORUM and len(there & set(rule.voters)) > len(rule.voters) - rule.k


def _bound(prior: Prior, sealed: dict[Voter, SealReport]) -> Position | None:
    ways = [] if prior.bound is None else [prior.bound]
    rule = prior.rule
    if rule.kind is RuleKind.QUORUM:
        at = sorted(sealed[v].position for v in rule.voters if v in sealed)
        if len(at) > len(rule.voters) - rule.k:
            ways.append(at[len(rule.voters) - rule.k])
    own = sealed.get(Voter(prior.primary, prior.number))
    if own is not None and not own.damaged:
        ways.append(own.position)
    return min(ways, default=None)


def _lies_below(position: Position, of: Position, record: Record) -> bool:
    """Whether who ends there needs no rewind to follow one that is promoted at `of`."""
    if position.timeline == of.timeline:
        return position.end_lsn <= of.end_lsn
    if of.timeline != record.timeline and of.timeline not in {step.timeline for step in record.history}:
        return False  # that of a candidate that was given up: the record doesn't know where it forked off
    history = [step for step in record.history if step.timeline < of.timeline]
    return any(s.timeline == position.timeline and position.end_lsn <= s.switch_lsn for s in history)


def _r_new(new: Record, able: set[Voter]) -> Iterator[str]:
    rule: Rule = new.rules[0]
    if len(new.rules) != 1:
        yield f"R4: R_new is one rule, not {new.rules}"
    for voter in set(rule.voters) - able:
        yield f"R5: R_new names {voter}, which is not sealed or lies past {new.candidate_position}"
    if rule.kind is RuleKind.SOLO and able:
        yield f"R5: R_new is solo, though {sorted(map(str, able))} can attach"
