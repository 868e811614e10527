"""Walsenders, walreceivers and synchronous waits of the model PostgreSQL (E1 to E4, E16, E19, E23, E28).

What it must get right: names are counted by application_name; every walsender has its own view of the rule
and mixes its own k with the others' membership; a diverged receiver's first reply is counted; a reply that
comes before the walsender caught up releases nobody; a connection whose other end vanished goes on looking
well until a timeout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from common.facts import PostgresState
from tests.simulator.model_directory import DataDirectory
from tests.simulator.model_parts import RECORD, Entry, Receiver, Waiter, Walsender, parse_rule

if TYPE_CHECKING:
    from tests.simulator.model_postgres import Postgres

_STATUS_EVERY_US = 1_000_000
_RECEIVER_TIMEOUT_US = 2_000_000
_SENDER_TIMEOUT_US = (2_500_000, 3_000_000)
_LAST_ACT_US = 5_000
_THE_REST_OF_IT_US = (300_000, 1_000_000)
"""wal_sender_timeout, when the receiver has waited for its own already."""
_UNHEARD_US = 2_700_000
"""wal_sender_timeout of one that sends, and gets no reply."""
_RECEIVER_FLUSHES_US = (100, 2_500)


@dataclass(eq=False, slots=True)
class Streaming(DataDirectory):
    loaded_rule: str = ""
    """As the postmaster has it, and every process that it starts from now on."""
    senders: list[Walsender] = field(default_factory=list)
    waiters: list[Waiter] = field(default_factory=list)
    receiver: Receiver | None = None
    last_append_us: int = -_LAST_ACT_US
    promoting: bool = False
    next_pid: int = 100
    on_counted: Callable[[Postgres, Entry, list[Walsender]], None] | None = None
    on_append: Callable[[Postgres, Entry], None] | None = None
    on_reply: Callable[[Postgres, Receiver, int], None] | None = None
    on_connect: Callable[[Postgres, Postgres, int], None] | None = None
    """To which upstream, under which epoch's name; before a word was said."""
    passes: Callable[[str, str], bool] | None = None
    """Whether what leaves one member reaches another; None: as `find` says, both ways."""
    wire: Callable[[str, str, Callable[[], None]], None] | None = None
    """Sends over the network, which may take its time; None: at once, or nearly."""

    def later(self, low_us: int, high_us: int, happen: Callable[[], None]) -> None:
        """Done by a process of this server, if it still runs then."""
        run = self.run

        def if_it_runs() -> None:
            if run == self.run:
                happen()

        self.host.postgres_process.after(self.world.between(low_us, high_us), if_it_runs)

    def itself(self) -> Postgres:
        raise NotImplementedError

    # The receiver

    def _connect_later(self) -> None:
        self.later(2_000, 100_000, self._connect)

    def _connect(self) -> None:
        """A receiver starts with what the service file says at this moment (V8)."""
        if self.state is not PostgresState.STANDBY or self.promoting or not self.conf.upstream:
            return
        if self.receiver is not None and self.receiver.alive:
            return
        self.look_for_target()
        conf = self.conf
        upstream = self.find(conf.upstream)
        if (
            upstream is None
            or upstream.state is not PostgresState.PRIMARY
            or upstream.host.postgres_process.frozen
            or conf.slot not in upstream.slots
            or any(
                s.slot == conf.slot and s.alive for s in upstream.senders
            )  # in use, under any name (E16, E2)
        ):
            self._connect_later()
            return
        if self.damaged_from is not None:
            self.flushed_before = self.reported_flush
            self.cut(self.damaged_from)  # replay could not read it: asked for again from there
            self.damaged_from = None
        self.half_record = False
        if upstream.timeline != self.timeline:
            self.flushed_before = 0
        if self.on_connect is not None:
            self.on_connect(self.itself(), upstream, conf.epoch)
        self.next_pid += 1
        upstream.next_pid += 1
        rule = upstream.loaded_rule
        sender = Walsender(upstream.next_pid, conf.name, self.itself(), self.disks, rule, conf.slot)
        sender.heard_at = self.world.now_us
        upstream.senders.append(sender)
        self.receiver = Receiver(upstream, sender, conf.epoch, received_at=self.world.now_us)
        # The first reply goes out before the timeline is checked: it is counted (E1).
        self._reply(self.receiver, self.replayed_end)
        if not self._fits(upstream) or self._lacks_a_history_file(upstream):
            if self.world.chance(500):
                sender.streaming = True  # it has sent all there is in common
            self.later(2_000, 20_000, lambda: self._refused(sender))
            return
        if self.end < upstream.oldest:
            self.world.count("receivers that ask for WAL that was removed")
            self.later(2_000, 20_000, lambda: self._refused(sender))
            return
        self.later(500, 5_000, lambda: self._caught_up(sender))

    def _caught_up(self, sender: Walsender) -> None:
        """Also when the walsender was ended meanwhile, and nobody could be told: the receiver finds out."""
        self._keepalive(sender)

    def _keepalive(self, sender: Walsender) -> None:
        """The receiver looks up now and then, also when nothing comes."""
        if self.receiver is not None and self.receiver.sender is sender:
            self._pull(sender)
            self.later(500_000, 500_000, lambda: self._keepalive(sender))

    def _fits(self, upstream: Postgres) -> bool:
        """PostgreSQL's own check: timeline and LSN, not content; and what it wants to reach must be known there."""
        known = (upstream.timeline, *(step.timeline for step in upstream.history))
        if self.target > self.timeline and self.target not in known:
            self.world.count("receivers that ask for a sibling's timeline")
            return False
        if self.timeline == upstream.timeline:
            return self.end <= upstream.end
        return any(s.timeline == self.timeline and self.end <= s.switch_lsn for s in upstream.history)

    def _lacks_a_history_file(self, upstream: Postgres) -> bool:
        """Every one in between is fetched; one that is missing on both sides strands the follower (V1, F1)."""
        for t in range(self.timeline + 1, upstream.timeline + 1):
            if t in self.histories:
                continue
            if t not in upstream.histories:
                self.world.count("receivers stranded by a missing history file")
                return True
            self.histories[t] = upstream.histories[t]
        return False

    def _refused(self, sender: Walsender) -> None:
        sender.alive = False
        if self.receiver is not None and self.receiver.sender is sender:
            self.end_receiver()
            self._connect_later()

    def end_receiver(self, *, vanished: bool = False) -> None:
        """The walsender notices a moment later, of a host that vanished only when it waited in vain; replies
        under way still arrive (one in flight at the seal)."""
        receiver = self.receiver
        if receiver is None:
            return
        receiver.alive = False
        self.receiver = None
        if not vanished and self.state is PostgresState.STANDBY:
            self.flushed_upto = self.end  # the last that it does
            # Flushed as its last act, and not yet looked at by the startup process. What came before was: replay
            # never goes back, and no promotion leaves behind what a reader has seen.
            just_now = self.world.now_us - self.last_append_us < _LAST_ACT_US
            if just_now and self.world.chance(800):
                self.world.count("ends that replay has not looked at")
                self.hold_replay("unread", self.world.between(20_000, 100_000))
                if self.held_by == "unread":
                    self.held_at = max(self.end - RECORD, RECORD)
            if self.conf.upstream == "" and self.world.chance(150):
                self.half_record = True
                self.world.count("torn ends")
        sender, upstream = receiver.sender, receiver.upstream
        cut = self.find(upstream.member) is None
        low_us, high_us = _SENDER_TIMEOUT_US if vanished else _THE_REST_OF_IT_US if cut else (500, 30_000)
        upstream.later(low_us, high_us, lambda: upstream.drop(sender))

    def end_receiver_by_signal(self) -> None:
        """SIGTERM to it; the startup process asks for another one, as the settings say then (V8)."""
        self.end_receiver()
        self._connect_later()

    def recycle(self, kept: Iterable[int] = ()) -> None:
        """All WAL is removed that no standby streams any more, whatever the slot of one that is away would keep
        (max_slot_wal_keep_size). `kept`: where other slots begin."""
        streamed = [sender.follower.end for sender in self.senders if sender.alive]
        self.oldest = max(self.oldest, min([self.flushed_end, *streamed, *kept]))

    def drop(self, sender: Walsender) -> None:
        sender.alive = False
        if sender in self.senders:
            self.senders.remove(sender)

    def end_walsender(self, sender: Walsender) -> None:
        """SIGTERM to it; the follower comes back as another one."""
        self.drop(sender)
        follower = sender.follower
        if self.find(follower.member) is follower and not follower.host.postgres_process.frozen:
            follower._refused(sender)

    def _pull(self, sender: Walsender) -> None:
        receiver = self.receiver
        if receiver is None or receiver.sender is not sender or self.state is not PostgresState.STANDBY:
            return
        upstream, now_us = receiver.upstream, self.world.now_us
        hears = self._hears(upstream) and not upstream.host.postgres_process.frozen
        if hears and sender.alive and now_us - sender.heard_at > _UNHEARD_US:
            self.world.count("walsenders that heard nothing")
            upstream.drop(sender)
        if now_us < self.stalled_until:
            return  # in an fsync that hangs: it notices nothing, not even that nobody is there any more
        if hears and (not sender.alive or upstream.state is not PostgresState.PRIMARY):
            self.end_receiver()
            self._connect_later()
            return
        if not hears:
            # Half open: nothing comes, nothing says so; wal_receiver_timeout ends it.
            if now_us - receiver.received_at > _RECEIVER_TIMEOUT_US:
                self.end_receiver()
                self._connect_later()
            return
        if self.full:
            return
        before = self.end
        upstream.send_all(sender)
        receiver.received_at = now_us
        if (upto := self.end) > before:
            self.later(*_RECEIVER_FLUSHES_US, lambda: self._flush_received(receiver, upto))
        elif now_us - receiver.replied_at >= _STATUS_EVERY_US:
            self._reply(receiver, self.flushed_end)

    def _hears(self, upstream: Postgres) -> bool:
        if self.passes is None:
            return self.find(upstream.member) is upstream
        return self.passes(upstream.member, self.member)

    def _flush_received(self, receiver: Receiver, upto: int) -> None:
        """What was written when it began; then it says so."""
        if not receiver.alive or self.state is not PostgresState.STANDBY:
            return
        if self.world.now_us < self.stalled_until:
            self.later(20_000, 40_000, lambda: self._flush_received(receiver, upto))
            return
        self.flushed_upto = max(self.flushed_upto, min(upto, self.end))
        self._reply(receiver, self.flushed_end)

    def send_all(self, sender: Walsender) -> None:
        follower = sender.follower
        if self.world.now_us < follower.stalled_until:
            return
        upto, end = self.flushed_end, follower.end
        while end < upto:
            entry = self.log[(end - RECORD) // RECORD]
            end = entry.end
            if follower.timeline != entry.timeline:
                follower.timeline = entry.timeline
                follower.history = tuple(s for s in self.history if s.timeline < entry.timeline)
            follower.log.append(entry)
            follower.half_record = False
            follower.last_append_us = self.world.now_us
            follower.foreign_records = max(0, follower.foreign_records - 1)
            if follower.on_append is not None:
                follower.on_append(follower, entry)
        if self.timeline != follower.timeline and end == upto:
            follower.timeline, follower.history = self.timeline, self.history
        sender.streaming = follower.flush_known = True

    def poke_senders(self) -> None:
        for sender in self.senders:
            if sender.streaming and sender.alive:
                follower = sender.follower
                follower.later(200, 2_000, lambda s=sender, f=follower: f._pull(s))  # type: ignore[misc]

    def _reply(self, receiver: Receiver, flushed: int) -> None:
        upstream, sender = receiver.upstream, receiver.sender
        receiver.replied_at = self.world.now_us
        if self.on_reply is not None:
            self.on_reply(self.itself(), receiver, flushed)

        def arrive() -> None:
            # Read whenever the walsender reads: a thawed one finds what was sent before the seal (E28).
            if sender.alive:
                sender.flushed, sender.heard_at = max(sender.flushed, flushed), self.world.now_us
                upstream.release(sender)

        if self.wire is None:
            upstream.later(200, 5_000, arrive)
            return
        run = upstream.run
        self.wire(
            self.member,
            upstream.member,
            lambda: upstream.host.postgres_process.due(lambda: arrive() if run == upstream.run else None),
        )

    # Synchronous waits

    def release(self, sender: Walsender) -> None:
        """A walsender with its own k, over everybody's published membership (E2)."""
        if not self.waiters or not sender.streaming:
            return
        k, names = parse_rule(sender.rule)
        if k == 0 or sender.name not in names:
            return
        counted = [s for s in self.senders if s.alive and s.streaming and s.name in parse_rule(s.rule)[1]]
        if len(counted) < k:
            return
        upto = sorted((s.flushed for s in counted), reverse=True)[k - 1]
        for waiter in [w for w in self.waiters if w.entry.end <= upto]:
            self.waiters.remove(waiter)
            if self.on_counted is not None:
                counts = [s for s in counted if s.flushed >= waiter.entry.end]
                self.on_counted(self.itself(), waiter.entry, counts)
            waiter.acknowledged()

    def release_all(self) -> None:
        waiters, self.waiters = self.waiters, []
        for waiter in waiters:
            waiter.acknowledged()

    def cancel_wait(self, entry: Entry) -> bool:
        """Answered as a success with a WARNING: done here, replicated perhaps never (E8)."""
        for waiter in self.waiters:
            if waiter.entry == entry:
                self.waiters.remove(waiter)
                return True
        return False
