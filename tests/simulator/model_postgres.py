"""A small model of PostgreSQL: WAL with content, timelines, walsenders, synchronous waits, promotion.

What it must get right is what the protocol assumes (tests/model, E1 to E28): names are counted by
application_name; every walsender has its own view of the rule and mixes its own k with the others'
membership; whether backends wait at all is a flag that the checkpointer sets late; a diverged
receiver's first reply is counted; a rule reaches everybody at a time of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from common.assignment import HistoryStep
from common.facts import PostgresState
from common.lsn import Lsn
from tests.simulator.model_parts import RECORD, Conf, Entry, Receiver, Waiter, Walsender, parse_rule
from tests.simulator.world import World


@dataclass(eq=False, slots=True)
class Postgres:
    """One data directory and, while it runs, the server over it."""

    world: World
    member: str
    find: Callable[[str], Postgres | None]
    """The server of a member as this one reaches it now; None across a partition."""
    state: PostgresState = PostgresState.ABSENT
    system_identifier: str = ""
    marker: tuple[str, ...] = ()
    standby_signal: bool = False
    log: list[Entry] = field(default_factory=list)
    timeline: int = 1
    history: tuple[HistoryStep, ...] = ()
    histories: dict[int, tuple[bool, int]] = field(default_factory=dict)  # timeline → (placeholder, fork)
    conf: Conf = field(default_factory=Conf)
    loaded_rule: str = ""
    waits: bool = False  # the checkpointer's flag
    slots: set[str] = field(default_factory=set)
    senders: list[Walsender] = field(default_factory=list)
    waiters: list[Waiter] = field(default_factory=list)
    receiver: Receiver | None = None
    run: int = 0  # counts starts: what was scheduled for an earlier run is dropped
    promoting: bool = False
    flushed_upto: int = 0
    stalled_until: int = 0
    """Its receiver hangs (a slow disk): connected, but nothing is written and nothing is answered."""
    end_of_recovery: int = 0
    clean: bool = False
    next_pid: int = 100
    on_counted: Callable[[Postgres, Entry, list[Walsender]], None] | None = None
    on_rebuilt: Callable[[Postgres], None] | None = None
    on_promoted: Callable[[Postgres], None] | None = None
    on_append: Callable[[Postgres, Entry], None] | None = None

    # The log

    @property
    def end(self) -> int:
        return self.log[-1].end if self.log else RECORD

    @property
    def running(self) -> bool:
        return self.state in (PostgresState.STANDBY, PostgresState.PRIMARY)

    @property
    def flushed_end(self) -> int:
        """Of a primary: what a crash leaves, and what walsenders may send."""
        return min(self.flushed_upto, self.end) if self.state is PostgresState.PRIMARY else self.end

    def _append(self, content: int, flushed: Callable[[], None] | None = None) -> Entry:
        """Inserted now; flushed, and only then sent to anybody, a moment later."""
        entry = Entry(self.timeline, self.end, content or self.world.unique())
        self.log.append(entry)
        run = self.run

        def flush() -> None:
            if run == self.run:
                self._flush(entry.end)
                if flushed is not None:
                    flushed()

        self.world.after(self.world.between(50, 1_500), flush)
        return entry

    def _flush(self, upto: int) -> None:
        if upto > self.flushed_upto:
            self.flushed_upto = upto
            self._poke_senders()

    # Start, stop, crash

    def start(self, *, as_primary: bool) -> None:
        self.run += 1
        self.promoting = False
        self.flushed_upto = self.end
        if as_primary:
            self.standby_signal = False
            self.state = PostgresState.PRIMARY
            self.end_of_recovery = self.end
        else:
            self.standby_signal = True
            self.state = PostgresState.STANDBY
        self.loaded_rule = self.conf.rule
        self.waits = bool(self.conf.rule)
        self.clean = False
        if not as_primary:
            self._connect_later()

    def crash(self) -> None:
        """Every process of it is gone at once."""
        if not self.running:
            return
        if self.state is PostgresState.PRIMARY and self.end > self.flushed_upto:
            kept = (self.flushed_upto - RECORD) // RECORD
            self.world.count("unflushed tails lost")
            del self.log[max(0, kept) :]
        self.run += 1
        self.state, self.clean = PostgresState.STOPPED, False
        self._end_receiver()
        for sender in self.senders:
            sender.alive = False
        self.senders.clear()
        self.waiters.clear()
        self.promoting = False

    def stop(self, *, clean: bool) -> bool:
        if clean and self.state is PostgresState.PRIMARY:
            self._flush(self._append(0).end)  # the shutdown record
            for sender in self.senders:
                if sender.alive and sender.streaming and self._linked(sender):
                    self._send_all(sender)
        self.crash()
        self.clean = clean
        return clean

    # Settings

    def write_settings(self, conf: Conf) -> None:
        changed_stream = (conf.upstream, conf.name) != (self.conf.upstream, self.conf.name)
        self.conf, run = conf, self.run
        if not self.running:
            return
        late = self.world.between(100, 3_000 + self.world.slow_reload_us)
        self.world.after(late, lambda: self._reload(run, conf))
        late = self.world.between(100, 60_000 + self.world.slow_checkpointer_us)
        self.world.after(late, lambda: self._checkpointer(run))
        for sender in list(self.senders):
            self.world.after(self.world.between(100, 60_000), lambda s=sender: self._reload_sender(run, s))  # type: ignore[misc]
        if changed_stream and conf.upstream:
            self.world.after(self.world.between(1_000, 8_000), lambda: self._switch_stream(run))

    def _reload(self, run: int, conf: Conf) -> None:
        if run == self.run and self.conf is conf:
            self.loaded_rule = conf.rule

    def _checkpointer(self, run: int) -> None:
        if run != self.run:
            return
        self.waits = bool(self.conf.rule)
        if not self.waits:
            self._release_all()

    def _reload_sender(self, run: int, sender: Walsender) -> None:
        if run == self.run and sender.alive:
            sender.rule = self.conf.rule
            self._release(sender)

    # Streaming

    def _switch_stream(self, run: int) -> None:
        if run == self.run:
            self._end_receiver()
            self._connect()

    def _connect_later(self) -> None:
        run = self.run
        self.world.after(self.world.between(2_000, 100_000), lambda: self._connect_if(run))

    def _connect_if(self, run: int) -> None:
        if run == self.run:
            self._connect()

    def _connect(self) -> None:
        """A receiver starts with what the service file says at this moment (V8)."""
        if self.state is not PostgresState.STANDBY or self.promoting or not self.conf.upstream:
            return
        if self.receiver is not None and self.receiver.alive:
            return
        conf = self.conf
        upstream = self.find(conf.upstream)
        if upstream is None or upstream.state is not PostgresState.PRIMARY or conf.slot not in upstream.slots:
            self._connect_later()
            return
        if any(s.name == conf.name and s.alive for s in upstream.senders):
            self._connect_later()  # the slot is in use
            return
        upstream.next_pid += 1  # it has what the postmaster has loaded, and hears of a reload under way
        sender = Walsender(upstream.next_pid, conf.name, self, upstream.loaded_rule)
        up, late_us = upstream, self.world.between(3_000, 60_000)
        upstream.senders.append(sender)
        self.receiver = Receiver(upstream, sender, conf.epoch, received_at=self.world.now_us)
        # The first reply goes out before the timeline is checked: it is counted (E1).
        self._reply(self.receiver, self.end)
        if not self._fits(upstream):
            self.world.after(self.world.between(2_000, 20_000), lambda: self._refused(sender))
            return
        sender.streaming = True
        self.world.after(late_us, lambda run=up.run: up._reload_sender(run, sender))  # type: ignore[misc]
        self.world.after(self.world.between(500, 5_000), lambda: self._keepalive(sender))

    def _keepalive(self, sender: Walsender) -> None:
        """The receiver looks up now and then, also when nothing comes."""
        if self.receiver is not None and self.receiver.sender is sender:
            self._pull(sender)
            self.world.after(500_000, lambda: self._keepalive(sender))

    def _fits(self, upstream: Postgres) -> bool:
        """PostgreSQL's own check: timeline and LSN, not content."""
        if self.timeline == upstream.timeline:
            return self.end <= upstream.end
        return any(s.timeline == self.timeline and self.end <= s.switch_lsn for s in upstream.history)

    def _refused(self, sender: Walsender) -> None:
        sender.alive = False
        if self.receiver is not None and self.receiver.sender is sender:
            self._end_receiver()
            self._connect_later()

    def _end_receiver(self) -> None:
        receiver = self.receiver
        if receiver is None:
            return
        receiver.alive, self.receiver = False, None
        sender, upstream = receiver.sender, receiver.upstream
        # The walsender notices a moment later; replies under way still arrive (one in flight at the seal).
        upstream.world.after(upstream.world.between(500, 30_000), lambda: upstream._drop(sender))

    def _drop(self, sender: Walsender) -> None:
        sender.alive = False
        if sender in self.senders:
            self.senders.remove(sender)

    def end_receivers(self) -> None:
        self._end_receiver()
        self._connect_later()  # the startup process asks for another one, as the settings say then

    def _linked(self, sender: Walsender) -> bool:
        receiver = sender.follower.receiver
        return (
            receiver is not None
            and receiver.sender is sender
            and self.find(sender.follower.member) is not None
        )

    def _poke_senders(self) -> None:
        for sender in self.senders:
            if sender.streaming and sender.alive:
                follower = sender.follower
                self.world.after(self.world.between(200, 2_000), lambda s=sender, f=follower: f._pull(s))  # type: ignore[misc]

    def _pull(self, sender: Walsender) -> None:
        receiver = self.receiver
        if receiver is None or receiver.sender is not sender or self.state is not PostgresState.STANDBY:
            return
        upstream = receiver.upstream
        reachable = self.find(upstream.member) is upstream
        if reachable and (not sender.alive or upstream.state is not PostgresState.PRIMARY):
            self._end_receiver()
            self._connect_later()
            return
        if not reachable:
            # Half open: nothing comes, nothing says so; wal_receiver_timeout ends it.
            if self.world.now_us - receiver.received_at > 2_000_000:
                self._end_receiver()
                self._connect_later()
            return
        if self.world.now_us < self.stalled_until:
            return
        upstream._send_all(sender)
        receiver.received_at = self.world.now_us
        self._reply(receiver, self.end)

    def _send_all(self, sender: Walsender) -> None:
        follower = sender.follower
        if follower.world.now_us < follower.stalled_until:
            return
        while follower.end < self.flushed_end:
            index = (follower.end - RECORD) // RECORD
            entry = self.log[index]
            if follower.timeline != entry.timeline:
                follower.timeline = entry.timeline
                follower.history = tuple(s for s in self.history if s.timeline < entry.timeline)
            follower.log.append(entry)
            if follower.on_append is not None:
                follower.on_append(follower, entry)
        if self.timeline != follower.timeline and follower.end == self.flushed_end:
            follower.timeline, follower.history = self.timeline, self.history

    def _reply(self, receiver: Receiver, flushed: int) -> None:
        upstream, sender = receiver.upstream, receiver.sender
        run = upstream.run

        def arrive() -> None:
            if run == upstream.run and sender.alive:
                sender.flushed = max(sender.flushed, flushed)
                upstream._release(sender)

        self.world.after(self.world.between(200, 5_000), arrive)

    # Synchronous waits

    def _release(self, sender: Walsender) -> None:
        """A walsender with its own k, over everybody's published membership (E2)."""
        k, names = parse_rule(sender.rule)
        if k == 0 or sender.name not in names:
            return
        if not self.waiters:
            return
        counted = [s for s in self.senders if s.alive and s.name in parse_rule(s.rule)[1]]
        if len(counted) < k:
            return
        upto = sorted((s.flushed for s in counted), reverse=True)[k - 1]
        for waiter in [w for w in self.waiters if w.entry.end <= upto]:
            self.waiters.remove(waiter)
            if self.on_counted is not None:
                self.on_counted(self, waiter.entry, [s for s in counted if s.flushed >= waiter.entry.end])
            waiter.acknowledged()

    def _release_all(self) -> None:
        waiters, self.waiters = self.waiters, []
        for waiter in waiters:
            waiter.acknowledged()

    def commit(self, content: int, acknowledged: Callable[[], None], *, local: bool = False) -> Entry | None:
        """`acknowledged` is called later: once it is flushed, and flushed by who is waited for."""
        if self.state is not PostgresState.PRIMARY:
            return None
        waits = self.waits and not local

        def flushed() -> None:
            if not waits:
                acknowledged()
                return
            self.waiters.append(Waiter(entry, acknowledged, self.run))
            for sender in tuple(self.senders):
                if sender.alive and sender.flushed >= entry.end:
                    self._release(sender)

        entry = self._append(content, flushed)
        return entry

    def local_commit(self) -> Entry:
        """Flushed at once, with everything below it."""
        entry = self._append(0)
        self._flush(entry.end)
        return entry

    # Promotion

    def promote(self, done: Callable[[], None]) -> None:
        if self.promoting or self.state is not PostgresState.STANDBY:
            return
        self.promoting = True
        run, slow_us = self.run, self.world.slow_promotion_us
        self.world.after(slow_us + self.world.between(5_000, 60_000), lambda: self._promoted(run, done))

    def _promoted(self, run: int, done: Callable[[], None]) -> None:
        if run != self.run or not self.promoting:
            return
        self._end_receiver()
        new = self.timeline + 1
        while new in self.histories:
            new += 1
        self.history = (*self.history, HistoryStep(self.timeline, Lsn(self.end)))
        self.histories[new] = (False, self.end)
        self.timeline = new
        self.promoting = False
        self.standby_signal = False
        self.state = PostgresState.PRIMARY
        self.flushed_upto = self.end
        self.end_of_recovery = self.end
        if self.on_promoted is not None:
            self.on_promoted(self)
        self._flush(self._append(0).end)
        done()

    # Copies

    def copy_from(self, source: Postgres) -> None:
        if self.on_rebuilt is not None:
            self.on_rebuilt(self)
        self.log = [entry for entry in source.log if entry.end <= source.flushed_end]
        self.timeline, self.history = source.timeline, source.history
        self.histories = {t: f for t, f in source.histories.items() if not f[0]}
        self.system_identifier, self.marker = source.system_identifier, source.marker
        self.state = PostgresState.STOPPED
        self.standby_signal = True
        self.slots = set()
