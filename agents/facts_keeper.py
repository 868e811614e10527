"""Merges what was measured, told by the recipe, and probed into the facts that are reported.

Decides nothing. Ages are kept as instants here and computed when somebody asks, so that a report that is
sent late does not look fresh. Listeners hear of changes that matter; the steady growth of a log is none.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from agents.core.lineage import latest_end
from agents.core.state import AgentState
from agents.core.steps import Tell
from agents.link.reports import Listener, Urgency
from agents.postgres.facts import PartialFacts
from agents.postgres.probe_commit import ProbeOutcome
from common.assignment import Position, Version
from common.clock import Clock
from common.datagram import BeatFrame, Flags, Header
from common.facts import Facts, PostgresState, RuleConfirmation, WriteState
from common.ids import parse_application_name
from common.lsn import ZERO, Lsn
from common.timebase import Instant, elapsed_ms


class FactsKeeper:
    def __init__(self, state: AgentState, clock: Clock) -> None:
        self._state, self._clock = state, clock
        self._seen, self._seen_at = PartialFacts(), clock.now()
        self._told = Tell()
        self._end_of_wal: Position | None = None
        self._confirmation: RuleConfirmation | None = None
        self._failure = ""
        self._write_state = WriteState.NONE
        self._written_at: Instant | None = None
        self._first_written_at: Instant | None = None
        self._listeners: list[Listener] = []
        self.activity: Callable[[], str] = lambda: ""
        """What PostgreSQL's adapter says takes long right now."""
        self.link_trouble: Callable[[], str] = lambda: ""
        """Said where nothing else is: what is wrong with the way to the control nodes, though they hear this."""
        self.on_promoted: Callable[[], None] = lambda: None
        """What else is to be known of a primary is measured now."""

    def listen(self, listener: Listener) -> None:
        self._listeners.append(listener)

    @property
    def seen(self) -> PartialFacts:
        return self._seen

    @property
    def is_primary(self) -> bool:
        return self._seen.postgres is PostgresState.PRIMARY and self._seen.postmaster_alive

    @property
    def has_trouble(self) -> bool:
        """The recipe failed, or ended with something that it can't do."""
        return bool(self._failure or self._told.error or self._told.promotion_failed)

    # What came in

    def state_changed(self, state: AgentState) -> None:
        before, self._state = self._state, state
        if before.promotion != state.promotion:
            self._promoted(state)
        if before.obeyed.epoch != state.obeyed.epoch:
            self._told, self._failure = Tell(activity=self._told.activity), ""
        if before.seal != state.seal and state.seal is not None:
            self._end_of_wal = None
        if _reported(before) != _reported(state):
            # That it obeyed is not: nobody waits for that, and each report takes both sides a millisecond.
            urgency = Urgency.REPORTED if before.seal != state.seal else Urgency.SOON
            if before.confirmation != state.confirmation or _newly_promoted(before, state):
                urgency = Urgency.BEATEN
            self._changed(urgency)
        if _newly_promoted(before, state):
            self.on_promoted()

    def measured(self, seen: PartialFacts) -> None:
        if self.is_primary and seen.postmaster_alive and not seen.answered:
            # It only repeats an older measurement, maybe of the standby.
            seen = replace(self._seen, answered=False)
        before, self._seen, self._seen_at = self._seen, seen, self._clock.now()
        if seen.upstream and seen.receiver_alive:
            self._end_of_wal = None
        if not self.is_primary:
            self._forget_writes()
        role_changed = (before.postgres, before.postmaster_alive, before.open) != (
            seen.postgres,
            seen.postmaster_alive,
            seen.open,
        )
        if role_changed or _without_growth(before) != _without_growth(seen):
            self._changed(Urgency.BEATEN if role_changed else Urgency.SOON)

    def died(self, free_mib: int | None = None) -> None:
        """The postmaster is gone: said before anything else is looked at, but for the room on its disk."""
        self._seen = replace(
            self._seen,
            postmaster_alive=False,
            open=False,
            receiver_alive=False,
            upstream="",
            peers=(),
            postgres=PostgresState.DYING,
            free_mib=self._seen.free_mib if free_mib is None else free_mib,
        )
        self._seen_at = self._clock.now()
        self._forget_writes()
        self._changed(Urgency.BEATEN)

    def told(self, tell: Tell) -> None:
        before, self._told = self._told, tell
        if tell.end_of_wal is not None:
            self._end_of_wal = tell.end_of_wal
        if before != tell:
            self._changed(Urgency.BEATEN if tell.promotion_failed else Urgency.SOON)

    def rule_confirmed(self, version: Version, barrier_lsn: Lsn) -> None:
        confirmation = RuleConfirmation(version, barrier_lsn)
        if confirmation != self._confirmation:
            self._confirmation = confirmation
            self._changed(Urgency.BEATEN)

    def failed(self, why: str) -> None:
        """The recipe ended so; empty when it ended well."""
        if why != self._failure:
            self._failure = why
            self._changed(Urgency.SOON)

    def probed(self, outcome: ProbeOutcome) -> None:
        before, self._write_state = self._write_state, outcome.state
        if outcome.acknowledged:
            self._written_at = outcome.begun_at
            if self._first_written_at is None:
                self._first_written_at = self._clock.now()
                self._changed(Urgency.BEATEN)
                return
        if before is not outcome.state:
            self._changed(Urgency.SOON)

    # What is said

    def facts(self) -> Facts:
        now, seen, state, told = self._clock.now(), self._seen, self._state, self._told
        late_ms = elapsed_ms(since=self._seen_at, now=now)
        return Facts(
            cluster=state.cluster,
            member=state.member,
            incarnation=state.incarnation,
            obeyed=state.obeyed,
            system_identifier=state.system_identifier or seen.system_identifier,
            postgres=seen.postgres,
            postmaster_alive=seen.postmaster_alive,
            open=seen.open,
            timeline=seen.timeline,
            history=seen.history,
            flushed_lsn=seen.flushed_lsn,
            replayed_lsn=seen.replayed_lsn,
            insert_lsn=seen.insert_lsn,
            end_of_wal=latest_end(self._end_of_wal, state.seal),
            rule_in_force=seen.rule_in_force,
            rule_confirmation=self._confirmation,
            promotion=state.promotion,
            promotion_failed=told.promotion_failed,
            seal=state.seal,
            peers=tuple(replace(peer, reply_age_ms=peer.reply_age_ms + late_ms) for peer in seen.peers),
            receiver_alive=seen.receiver_alive,
            received_age_ms=_later(seen.received_age_ms, late_ms),
            upstream=seen.upstream,
            write_state=self._write_state,
            write_age_ms=_age_ms(self._written_at, now),
            first_write_age_ms=_age_ms(self._first_written_at, now),
            free_mib=seen.free_mib,
            replay_backlog_bytes=seen.replay_backlog_bytes,
            replay_paused=seen.replay_paused,
            oldest_lsn=seen.oldest_lsn,
            rebuild_needed=told.rebuild_needed,
            activity=self.activity() or told.activity or self.link_trouble(),
            error=self._failure or told.error,
            postgres_version=seen.postgres_version,
            highest_version=state.obeyed,
            highest_number=state.highest_number,
        )

    def beat(self, header: Header) -> BeatFrame:
        now, seen, state = self._clock.now(), self._seen, self._state
        late_ms = elapsed_ms(since=self._seen_at, now=now)
        voters = [peer.reply_age_ms for peer in seen.peers if parse_application_name(peer.application_name)]
        return BeatFrame(
            header=header,
            obeyed=state.obeyed,
            incarnation=state.incarnation,
            system_identifier=state.system_identifier or seen.system_identifier,
            flags=Flags(
                postgres=seen.postgres,
                write_state=self._write_state,
                postmaster_alive=seen.postmaster_alive,
                receiver_alive=seen.receiver_alive,
                sealed=state.seal is not None and state.seal.epoch == state.obeyed.epoch,
                open=seen.open,
            ),
            timeline=seen.timeline,
            flushed_lsn=seen.flushed_lsn,
            replayed_lsn=seen.replayed_lsn,
            insert_lsn=seen.insert_lsn,
            voter_reply_age_ms=_later(max(voters, default=None), late_ms),
            write_age_ms=_age_ms(self._written_at, now),
            received_age_ms=_later(seen.received_age_ms, late_ms),
            free_mib=seen.free_mib,
        )

    def _promoted(self, state: AgentState) -> None:
        """Who has committed locally is a primary. The leader waits for both to be said, and the next measurement would be
        some milliseconds later; until then nothing is said that was true of the standby."""
        done = state.promotion
        if done is None or done.first_commit_lsn == ZERO or self._seen.postgres is not PostgresState.STANDBY:
            return
        was = self._seen
        self._seen = PartialFacts(
            PostgresState.PRIMARY,
            postmaster_alive=True,
            system_identifier=was.system_identifier,
            timeline=done.timeline,
            flushed_lsn=done.first_commit_lsn,
            insert_lsn=done.first_commit_lsn,
            free_mib=was.free_mib,
            postgres_version=was.postgres_version,
            answered=True,
        )

    def _forget_writes(self) -> None:
        self._write_state, self._written_at, self._first_written_at = WriteState.NONE, None, None

    def _changed(self, urgency: Urgency) -> None:
        for listener in self._listeners:
            listener(urgency)


def _newly_promoted(before: AgentState, state: AgentState) -> bool:
    """With its rule in force, and the first commit under it: the leader waits for no less (R5)."""
    done = state.promotion
    return before.promotion != done and (done is None or done.first_commit_lsn != ZERO)


def _reported(state: AgentState) -> AgentState:
    return replace(state, flushed_mark=None)


def _without_growth(seen: PartialFacts) -> PartialFacts:
    return replace(
        seen,
        flushed_lsn=ZERO,
        replayed_lsn=ZERO,
        insert_lsn=ZERO,
        received_age_ms=None,
        free_mib=None,
        oldest_lsn=ZERO,
        replay_backlog_bytes=0,
        peers=tuple(replace(peer, flushed_lsn=ZERO, reply_age_ms=0) for peer in seen.peers),
    )


def _age_ms(at: Instant | None, now: Instant) -> int | None:
    return None if at is None else elapsed_ms(since=at, now=now)


def _later(age_ms: int | None, late_ms: int) -> int | None:
    return None if age_ms is None else age_ms + late_ms
