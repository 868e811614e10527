"""The commit of reason (b) of "Staying up", which also serves detection and the standbys' pulse.

On its own connection, one outstanding at a time. A commit that hangs is never cancelled: a cancelled wait is
answered as success (E8), and cutting its socket would leave its backend waiting, one more each time. It stays
outstanding, and is asked after; its late answer still proves something about the moment when it began.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from psycopg.errors import Diagnostic

from agents.core.steps import StepFailed
from agents.postgres.config import InstanceConfig
from agents.postgres.sql import NoAnswer, Pending, Row, Session
from common.clock import Clock
from common.facts import WriteState
from common.lsn import Lsn
from common.timebase import Instant, elapsed_ms

_COMMIT = """
select current_setting('synchronous_standby_names'), pg_logical_emit_message(true, 'primacy', '')::text
"""
_NUDGE = "select pg_logical_emit_message(true, 'primacy', '')"
NUDGE_ONCE_ONE_STREAMS = """
do $$ begin
  for look in 1..25 loop
    exit when exists (select from pg_stat_get_wal_senders() where state = 'streaming');
    perform pg_sleep(0.002);
  end loop;
  perform pg_logical_emit_message(true, 'primacy', '');
end $$
"""
_ALIVE = "select 1"
ALIVE_AND_LOADED = "load '$libdir/plpgsql'"
"""Else the first block of a session loads it, which takes some milliseconds. No error where somebody dropped the language:
it would be in PostgreSQL's log twice a second (then the plain nudge is left)."""
_WAITS = """
select coalesce(wait_event = 'SyncRep', false), coalesce(state = 'idle', false) from pg_stat_activity where pid = %s
"""
_WITNESS_WITHIN_MS = 200
_NOBODY_COMES_FOR_MS = 10
"""The standbys are told only once the promotion is done; until then everybody's processors are busy with that."""
_RELEASED_WITHIN_MS = 5
"""From the nudge to the answer, where a voter streams: its flush and the two ways."""
_ON_ITS_WAY_MS = 50
"""A commit that neither waits nor was answered when somebody looked may be flushed in this very moment. Little beside the
limit of a stall."""
_ANSWER_COMES_MS = 300
"""Where its backend is through with it; or has not begun, which only one that is stopped by itself does for so long."""
_CONNECT_WITHIN_MS = 500
_REPLACED_AFTER_MS = 10_000
_LEFT_BEHIND_MAX = 3


@dataclass(frozen=True, slots=True)
class ProbeOutcome:
    begun_at: Instant
    """Read before the statement was sent; of an answer that came late, when that one was sent."""
    state: WriteState
    """ACKNOWLEDGED: it counts. WAITING: flushed here, voters missing. STALLED: not even flushed.
    NONE: no statement could be sent, or it was answered but does not count (`error` says why)."""
    end_lsn: Lsn | None = None
    """A position at or below the end of the acknowledged commit, and above all that was there before it."""
    rule_seen: str | None = None
    warned: bool = False
    error: str = ""

    @property
    def acknowledged(self) -> bool:
        return self.state is WriteState.ACKNOWLEDGED


class ProbeCommits:
    def __init__(self, config: InstanceConfig, clock: Clock) -> None:
        self._clock = clock
        self._session = Session(config, synchronous_commit="on")
        self._session.hear_notices(self._hear)
        self._witness = Session(config)
        self._pending: Pending | None = None
        self._nudging: asyncio.Task[None] | None = None
        self._begun_at = clock.now()
        self._warning = ""
        self._waited = False
        """At the last look at the one that is outstanding."""
        self._left_behind = 0

    async def probe(self, expected_rule: str, within_ms: int, *, opening: bool = False) -> ProbeOutcome:
        """Begin a commit, or ask after the one that is outstanding. `opening`: clients wait for the first one that is
        acknowledged; it is nudged as soon as a standby streams. Never raises."""
        if self._pending is None:
            tried_at = self._clock.now()
            connect_within_ms = max(within_ms, _CONNECT_WITHIN_MS)
            try:
                await self._session.connect(connect_within_ms)
                self._warning = ""
                self._begun_at = self._clock.now()
                self._pending = await self._session.begin(_COMMIT, within_ms=connect_within_ms)
                self._waited = False
            except NoAnswer as why:
                state = WriteState.STALLED if why.timed_out else WriteState.NONE
                return ProbeOutcome(tried_at, state, error=str(why))
        pending = self._pending
        if opening and not await pending.done_within(_NOBODY_COMES_FOR_MS) and not self._nudges:
            self._nudging = asyncio.ensure_future(self._nudge(NUDGE_ONCE_ONE_STREAMS))
        if not await self._is_answered(pending, within_ms):
            outcome = await self._while_pending(pending, opening)
            if outcome is not None:
                return outcome
        self._pending = None
        return self._of_answer(pending, expected_rule)

    @property
    def is_outstanding(self) -> bool:
        return self._pending is not None

    async def keep_warm(self) -> None:
        """Connected already when a standby is promoted: the first probe commit opens the door. Asked for something, as
        a session does not hear that PostgreSQL was restarted. Never raises."""
        if self._pending is not None and self._pending.done:
            with suppress(StepFailed):
                self._pending.rows()
                self._session.take_back(self._pending)
            self._pending = None
        if self._pending is None:
            with suppress(StepFailed):
                await self._session.run(_ALIVE, within_ms=_CONNECT_WITHIN_MS)
        if not self._nudges:
            with suppress(StepFailed):
                await self._witness.run(ALIVE_AND_LOADED, within_ms=_CONNECT_WITHIN_MS)

    async def close(self) -> None:
        if self._nudging is not None:
            self._nudging.cancel()
            await asyncio.wait({self._nudging})
            self._nudging = None
        if self._pending is not None:
            await self._pending.abandon()
            self._pending = None
        await self._session.close()
        await self._witness.close()

    def _of_answer(self, pending: Pending, expected_rule: str) -> ProbeOutcome:
        try:
            rule, end_lsn = pending.rows()[0]
        except StepFailed as why:
            if not isinstance(why, NoAnswer):
                self._session.take_back(pending)
            return ProbeOutcome(self._begun_at, WriteState.NONE, error=str(why))
        self._session.take_back(pending)
        self._left_behind = 0
        error = ""
        if rule != expected_rule:
            error = f"committed under the rule {rule!r}, not {expected_rule!r}"
        elif self._warning:
            error = f"committed with a warning: {self._warning}"
        state = WriteState.NONE if error else WriteState.ACKNOWLEDGED
        return ProbeOutcome(self._begun_at, state, Lsn.parse(end_lsn), rule, bool(self._warning), error)

    @property
    def _nudges(self) -> bool:
        """The witness's session is busy with it."""
        return self._nudging is not None and not self._nudging.done()

    async def _is_answered(self, pending: Pending, within_ms: int) -> bool:
        if await pending.done_within(within_ms):
            return True
        if self._nudging is None:
            return False
        if await pending.done_before(self._nudging):
            return True
        self._nudging = None
        return await pending.done_within(_RELEASED_WITHIN_MS)

    async def _while_pending(self, pending: Pending, opening: bool) -> ProbeOutcome | None:
        """None where it was answered meanwhile. `opening`: it is asked after again at once."""
        try:
            rows = await self._look_at(pending)
            if not _waits(rows) and not opening:
                is_through = bool(rows) and rows[0][1]
                if not await pending.done_within(_ANSWER_COMES_MS if is_through else _ON_ITS_WAY_MS):
                    rows = await self._look_at(pending)
        except StepFailed as why:
            return None if pending.done else ProbeOutcome(self._begun_at, WriteState.STALLED, error=str(why))
        if pending.done:
            return None
        waited, self._waited = self._waited, _waits(rows)
        if rows and (self._waited or waited):  # it was flushed, and whether it is through the next look tells
            await self._nudge(_NUDGE)
            return ProbeOutcome(self._begun_at, WriteState.WAITING)
        outcome = ProbeOutcome(
            self._begun_at, WriteState.STALLED, error="the probe commit is not flushed yet"
        )
        stuck_ms = elapsed_ms(since=self._begun_at, now=self._clock.now())
        if not rows or (stuck_ms > _REPLACED_AFTER_MS and self._left_behind < _LEFT_BEHIND_MAX):
            # PostgreSQL answers, but not on this connection: try another one, a few times at most.
            self._left_behind += bool(rows)
            await pending.abandon()
            self._pending = None
        return outcome

    async def _look_at(self, pending: Pending) -> list[Row]:
        """Whether it waits, and whether it is through. One answer that is late says less of the disk than of a busy
        machine, or of this one session: only a second one, over a new connection, is believed."""
        try:
            return await self._witness.rows(_WAITS, (pending.pid,), within_ms=_WITNESS_WITHIN_MS)
        except NoAnswer:
            return await self._witness.rows(_WAITS, (pending.pid,), within_ms=_WITNESS_WITHIN_MS)

    async def _nudge(self, statement: str) -> None:
        """A small flushed commit that waits for nobody. Waiters are released by a reply, and the first reply of a
        standby that attaches comes while its walsender still catches up, when it releases nobody: the next one
        would come with the next WAL, or after wal_receiver_status_interval (V10)."""
        with suppress(StepFailed):
            await self._witness.run(statement, within_ms=_WITNESS_WITHIN_MS)

    def _hear(self, notice: Diagnostic) -> None:
        if notice.severity_nonlocalized == "WARNING":
            self._warning = notice.message_primary or "a warning"


def _waits(rows: list[Row]) -> bool:
    return bool(rows) and rows[0][0]
