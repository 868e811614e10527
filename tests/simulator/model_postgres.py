"""A small model of PostgreSQL: starts and ends of its processes, settings, commits, promotion.

What it must get right is what the protocol assumes (tests/model, labels E, F, G, H, V), and it is compared with
PostgreSQL itself (tests/contract/postgres): whether backends wait at all is a flag that the checkpointer sets late
(E7); a rule reaches everybody at a time of its own; backends outlive their postmaster (E12); a promotion takes
time, can be cut in half, and takes the id after the highest history file (E6, F9).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from common.assignment import HistoryStep
from common.facts import PostgresState
from common.lsn import Lsn
from common.timebase import Instant
from tests.simulator.model_parts import RECORD, Conf, Entry, HistoryFile, Waiter, Walsender
from tests.simulator.model_streaming import Streaming

_SIGHUP_US = (100, 3_000)
_TAKES_IT_US = (100, 60_000)
_TAKES_IT_LATE_US = (60_000, 4_000_000)
_LATE_PERMILLE = 15
_ORPHANS_LIVE_US = (200_000, 9_000_000)
_LAST_STEPS_US = 22_000


@dataclass(eq=False, slots=True)
class Postgres(Streaming):
    """One data directory and, while it runs, the server over it."""

    waits: bool = False
    """The checkpointer's flag: whether a backend looks at the rule at all."""
    checkpointer_stalls_until: int = 0
    slow_reload_us: int = 0
    """At most so much later the postmaster acts on a SIGHUP."""
    orphans: bool = False
    """DYING: backends that are left answer their clients as before; nobody is told of a commit that waits."""
    primary_since: Instant = Instant(0)
    end_of_recovery: int = 0
    promotion_fails: bool = False
    promoted_at: int = 0
    promotion_takes_us: int = 0
    """At least so long: a large backlog, a slow disk."""
    on_rebuilt: Callable[[Postgres], None] | None = None
    on_promoted: Callable[[Postgres], None] | None = None
    on_acknowledged: Callable[[Postgres, Entry], None] | None = None
    on_death: Callable[[], None] | None = None

    def itself(self) -> Postgres:
        return self

    # The log

    def append(self, content: int, flushed: Callable[[], None] | None = None) -> Entry:
        """Inserted now; flushed, and only then sent to anybody, a moment later."""
        start = self.end
        entry = Entry(self.timeline, start, content or self.world.unique(), start + RECORD)
        self.log.append(entry)

        def flush() -> None:
            if self.world.now_us < self.stalled_until:
                self.later(20_000, 40_000, flush)
                return
            self.flush(entry.end)
            if flushed is not None:
                flushed()

        if self.full:
            self.later(0, 2_000, self.panic)
        else:
            self.later(50, 1_500, flush)
        return entry

    def flush(self, upto: int) -> None:
        if upto > self.flushed_upto:
            self.flushed_upto = upto
            self.poke_senders()

    # Start, stop, crash

    def begin_start(self, took_us: int) -> None:
        """Goes on by itself, also when the agent that ordered it is gone. What comes up is what standby.signal
        says: a candidate that died inside its promotion has none (V5)."""
        if self.anything_left or self.state in (PostgresState.ABSENT, PostgresState.HALF):
            return
        self.run += 1
        self.state = PostgresState.STARTING
        self.promoting = self.orphans = False
        self.restarted()
        self.later(took_us, took_us, self._started)

    def _started(self) -> None:
        if self.state is not PostgresState.STARTING:
            return
        if self.damaged_from is not None and not self.full:
            self.cut(self.damaged_from)  # recovery ends there without a word, of a primary too (E29)
            self.damaged_from = None
        if self.full or self.refuses_to_start():
            self.world.count("starts that failed")
            self._gone(PostgresState.STOPPED)
            return
        self.flushed_upto = self.end
        self.loaded_rule = self.conf.rule
        self.waits = bool(self.conf.rule)
        self.clean = False
        self.target = self.timeline
        if self.standby_signal:
            self.state = PostgresState.STANDBY
            self.look_for_target()
            self._connect_later()
        else:
            self._be_primary()
            self.end_of_recovery = self.end
            self.checkpoint_timeline = self.timeline

    def _be_primary(self) -> None:
        self.state = PostgresState.PRIMARY
        self.primary_since = self.host.clock.now

    def crash(self, *, power: bool = False) -> None:
        """Every process of it is gone at once; with the power gone, also what was written and not flushed."""
        if power and self.state is not PostgresState.PRIMARY and self.end > self.flushed_upto and self.log:
            self.world.count("unflushed tails lost")
            self.cut(self.flushed_upto)  # of a standby; or in the page cache, by a server that is gone
        if not self.anything_left:
            return
        if self.state is PostgresState.PRIMARY and self.end > self.flushed_upto:
            whole_tail = (self.end - self.flushed_upto) // 128
            kept = 0 if power else self.world.between(0, whole_tail)
            if kept < whole_tail:
                self.world.count("unflushed tails lost")
            self.cut(self.flushed_upto + kept * 128)
        was_standby = self.standby_signal
        self._gone(PostgresState.STOPPED, vanished=power)
        if self.damaged_from is not None and was_standby:
            # A damaged disk and a restart before the seal lie outside the fault model: it is broken for good.
            self.world.count("damaged disks that were given up")
            self.wipe()

    def panic(self) -> None:
        self.world.count("panics for want of space")
        self.crash()
        if self.on_death is not None:
            self.on_death()

    def _gone(self, state: PostgresState, *, vanished: bool = False) -> None:
        if self.state is PostgresState.STANDBY:
            self.end_receiver(vanished=vanished)
        self.run += 1
        self.host.postgres_ended()
        self.state = state
        self.clean = False
        self.restarted()
        self.receiver = None
        for sender in self.senders:
            sender.alive = False
        self.senders.clear()
        self.waiters.clear()
        self.promoting = False
        self.orphans = False

    def kill_postmaster(self) -> None:
        """SIGKILL to it alone, or to one of its children, which it follows (restart_after_crash = off).

        Busy backends live on for seconds, and keep the shared memory, beside which nothing starts (E12).
        """
        if self.state is not PostgresState.PRIMARY or not self.world.chance(300):
            self.crash()
        else:
            self.leave_orphans()

    def leave_orphans(self) -> None:
        """One backend, at least, was busy: it goes on, and sees the death when it next waits for anything."""
        self.world.count("orphans that outlived their postmaster")
        self._gone(PostgresState.DYING)
        self.orphans = True
        self.later(*_ORPHANS_LIVE_US, self.crash)

    def stop(self, *, clean: bool) -> bool:
        """Answers whether it stopped cleanly: the shutdown record written, its walsenders drained (E17)."""
        if not self.running or self.host.postgres_process.frozen or self.full:
            clean = False
        if clean and self.state is PostgresState.PRIMARY:
            if self.world.now_us < self.stalled_until:
                clean = False
            else:
                self.flush(self.append(0).end)
                self.checkpoint_timeline = self.timeline
                for sender in self.senders:
                    if sender.alive and sender.streaming and self._linked(sender):
                        self.send_all(sender)
        self.crash()
        self.clean = clean
        return clean

    def _linked(self, sender: Walsender) -> bool:
        follower = sender.follower
        receiver = follower.receiver
        return (
            receiver is not None
            and receiver.sender is sender
            and not follower.host.postgres_process.frozen
            and self.find(follower.member) is not None
        )

    # Settings

    def write_settings(self, conf: Conf) -> None:
        """Durable now. The postmaster takes it up, then hands it to the processes that it has at that moment;
        one that is forked before has the old one (E2, E23)."""
        changed_stream = (conf.upstream, conf.name) != (self.conf.upstream, self.conf.name)
        self.conf = conf
        if not self.running:
            return
        self.later(_SIGHUP_US[0], _SIGHUP_US[1] + self.slow_reload_us, lambda: self._reload(conf))
        if changed_stream and conf.upstream:
            self.later(1_000, 8_000, self._switch_stream)
        elif changed_stream:
            self.later(*self._takes_it_us(), lambda: self._stream_withdrawn(conf))

    def _reload(self, conf: Conf) -> None:
        if self.conf is not conf:
            return
        self.loaded_rule = conf.rule
        self.later(*self._takes_it_us(), self._checkpointer)
        for sender in self.senders:
            self.later(*self._takes_it_us(), lambda s=sender: self._reload_sender(s))  # type: ignore[misc]

    def _takes_it_us(self) -> tuple[int, int]:
        if not self.world.chance(_LATE_PERMILLE):
            return _TAKES_IT_US
        self.world.late_us += _TAKES_IT_LATE_US[1]
        return _TAKES_IT_LATE_US

    def _checkpointer(self) -> None:
        if self.world.now_us < self.checkpointer_stalls_until:
            self.later(50_000, 200_000, self._checkpointer)  # in the fsyncs of a checkpoint (E7)
            return
        self.waits = bool(self.loaded_rule)
        if not self.waits:
            self.release_all()

    def _reload_sender(self, sender: Walsender) -> None:
        if sender.alive:
            sender.rule = self.loaded_rule
            self.release(sender)

    def _switch_stream(self) -> None:
        self.end_receiver()
        self._connect()

    def _stream_withdrawn(self, conf: Conf) -> None:
        """The startup process takes the reload when it waits for WAL: not while it is held up in replay (E4, G1)."""
        if self.conf is conf and not (self.held_by and self.world.now_us < self.held_until):
            self.end_receiver()

    # The door

    @property
    def takes_new_sessions(self) -> bool:
        return self.state is PostgresState.PRIMARY and not self.conf.closed

    @property
    def lets_clients_in(self) -> bool:
        """New ones; or those whose busy backends the postmaster has left behind, nobody new then (E12)."""
        orphaned = self.state is PostgresState.DYING and self.orphans
        return self.takes_new_sessions or (orphaned and not self.conf.closed)

    def open_door(self) -> None:
        self.conf.closed = False

    # Commits

    def commit(self, content: int, acknowledged: Callable[[], None]) -> Entry | None:
        """`acknowledged` is called later, without a warning: once it is flushed, also by who is waited for. An
        orphan's wait ends with nothing said, and its row is on disk all the same (E12)."""
        orphaned = self.state is PostgresState.DYING and self.orphans
        if self.state is not PostgresState.PRIMARY and not orphaned:
            return None

        def answer() -> None:
            if self.on_acknowledged is not None:
                self.on_acknowledged(self, entry)
            acknowledged()

        def flushed() -> None:
            # Looked at after the flush (SyncRepWaitForLSN): a rule that is set back meanwhile strands nobody.
            if not self.waits:
                answer()
                return
            if orphaned:
                return
            self.waiters.append(Waiter(entry, answer))
            for sender in tuple(self.senders):
                if sender.alive and sender.flushed >= entry.end:
                    self.release(sender)

        entry = self.append(content, flushed)
        return entry

    def local_commit(self) -> Entry:
        """Flushed at once, with everything below it (V10)."""
        entry = self.append(0)
        self.flush(entry.end)
        return entry

    def nudge(self) -> None:
        """A small flushed commit of the agent's that waits for nobody: the reply to it releases waiters."""
        if self.world.now_us >= self.stalled_until and not self.full:
            self.local_commit()

    # Promotion

    def promote(self) -> int:
        """Signalled; it goes on by itself, also when the agent that ordered it is gone (E18). Answers how long
        it will take at the most, in microseconds, for who waits."""
        if self.promoting or self.state is not PostgresState.STANDBY:
            return self.promoted_at - self.world.now_us if self.promoting else 0
        self.promoting = True
        wait_us = 0
        if self.held_by == "paused":
            self.resume_replay("paused")  # a promotion ends the pause
        elif self.held_by in ("conflict", "slow"):
            wait_us = max(0, self.held_until - self.world.now_us)
        takes_us = self.world.between(3_000, 45_000)
        if self.world.chance(30):
            takes_us = self.world.between(200_000, 4_000_000)
            self.world.late_us += takes_us
        takes_us = max(takes_us, self.promotion_takes_us)
        self.later(wait_us + takes_us, wait_us + takes_us, self._choose_timeline)
        self.promoted_at = self.world.now_us + wait_us + takes_us + _LAST_STEPS_US
        return wait_us + takes_us + _LAST_STEPS_US

    def _choose_timeline(self) -> None:
        """The history file is written and standby.signal is gone; the new timeline has no record yet (F9, V5)."""
        if not self.promoting:
            return
        if self.promotion_fails:
            self.promotion_fails = False
            self.world.count("promotions that failed")
            self.panic()
            return
        self.end_receiver()
        self.flushed_upto = self.end
        if self.held_by == "unread":
            self.cut(self.replayed_end)  # recovery ends where the startup process last looked
        steps = (*self.history, HistoryStep(self.timeline, Lsn(self.end)))
        copied = self.histories.get(self.target) if self.target > self.timeline else None
        if (
            self.target > self.timeline
        ):  # remembered; what its file says by now is copied into the new one (R11)
            steps = (*steps, HistoryStep(self.target, Lsn(self.end)))
        new = self.newest_timeline() + 1
        self.histories[new] = HistoryFile(copied is not None and copied.placeholder, steps)
        self.standby_signal = False
        self.later(500, 10_000, lambda: self._end_recovery(new, steps))

    def _end_recovery(self, new: int, steps: tuple[HistoryStep, ...]) -> None:
        if not self.promoting:
            return
        before = self.timeline
        self.timeline, self.history = new, steps
        if self.on_promoted is not None:
            self.on_promoted(self)
        self.flushed_upto = self.append(0).end
        self.checkpoint_timeline = before
        self.end_of_recovery = self.end
        self.later(500, 12_000, self._takes_writes)

    def _takes_writes(self) -> None:
        if not self.promoting:
            return
        self.promoting = False
        self._be_primary()
        self.poke_senders()
        self.later(50_000, 3_000_000, self.checkpoint)

    def checkpoint(self) -> None:
        if self.state is PostgresState.PRIMARY:
            self.checkpoint_timeline = self.timeline
