"""Beats that say the same as the one before wait undecoded until their cluster has its turn; nobody can tell."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from msgspec import structs

from common.datagram import BeatFrame, open_frame
from common.facts import Facts
from common.ids import ClusterName, MemberName
from common.profile import PATIENT
from common.timebase import Instant, before_ms
from orchestrator.core.diagnose import FULL_MIB
from orchestrator.core.events import BeatHeard, Event, FactsHeard
from orchestrator.core.liveness import Liveness, classify, threshold_ms
from orchestrator.core.observe import observe
from orchestrator.core.view import ClusterView
from orchestrator.ingress.heard import Heard, beat_of
from orchestrator.ingress.heartbeat_udp import Acknowledgement, HeartbeatUdp
from orchestrator.shell.inbox import Inbox
from tests.orchestrator.beats import INCARNATION, frame, sealed_under
from tests.orchestrator.control_node import SECRET
from tests.orchestrator.fakes import SHOP, A, HandClock

MEMBERS = ("a", "b")
EVERY_MS = PATIENT.beat_primary_every_ms


@dataclass
class Ears:
    """The receiver behind its socket, and beside it one that decodes every beat and puts it into an inbox."""

    clock: HandClock
    heard: Heard
    inbox: Inbox
    plain: Inbox
    socket: socket.socket
    address: tuple[str, int] = ("", 0)
    dealt_with: int = 0
    views: list[ClusterView] = field(default_factory=lambda: [ClusterView(), ClusterView()])

    async def come(self, *datagrams: bytes) -> None:
        before = self.dealt_with
        for data in datagrams:
            self.socket.sendto(data, self.address)
            beat = open_frame(data, self.heard.key_of)
            assert isinstance(beat, BeatFrame)
            known = self.heard.by_id(beat.header.member_id)
            self.plain.put(SHOP, BeatHeard(self.clock.now(), beat_of(beat, known.member)))
        async with asyncio.timeout(5):
            while self.dealt_with < before + len(datagrams):
                await asyncio.sleep(0)

    def happen(self, event: Event) -> None:
        self.inbox.put(SHOP, event)
        self.plain.put(SHOP, event)

    def turn(self) -> list[Event]:
        """Both engines take what waits; what ours was fed."""
        fed = []
        for place, inbox in enumerate((self.inbox, self.plain)):
            inbox.calls()
            fed.append(inbox.take(SHOP))
            for event in fed[-1]:
                self.views[place] = observe(self.views[place], event)
        return fed[0]

    def known(self) -> list[dict[str, Any]]:
        """What each engine knows of the members, but for the rhythm of their beats: where news were put and more of the
        same waits, ours measures two gaps where the other one has their mean."""
        left_out = {"gap_us", "gap_deviation_us", "missed_at"}
        return [
            {
                f"{name} {what}": getattr(member, what)
                for name, member in sorted(view.members.items())
                for what in member.__struct_fields__
                if what not in left_out
            }
            for view in self.views
        ]


@asynccontextmanager
async def ears() -> AsyncIterator[Ears]:
    clock = HandClock()
    heard = Heard(clock, SECRET)
    heard.set_members((SHOP, MemberName(name), ()) for name in MEMBERS)
    inbox = Inbox(clock, quiet=heard)
    made = Ears(clock, heard, inbox, Inbox(clock), socket.socket(type=socket.SOCK_DGRAM))

    def count(_how: str) -> None:
        made.dealt_with += 1

    def acknowledge(_cluster: ClusterName, _member: MemberName, _epoch: int) -> Acknowledgement:
        return Acknowledgement("control1", 4)

    beats = HeartbeatUdp(clock, heard, inbox.put, lambda: acknowledge, count)
    made.address = ("127.0.0.1", beats.open("127.0.0.1", 0))
    try:
        yield made
    finally:
        beats.close()
        made.socket.close()


def said(
    sequence: int, member: str = "a", *, alive: bool = True, boot_id: int = 77, free_mib: int = 1_000
) -> bytes:
    beat = frame(member, sequence=sequence, boot_id=boot_id)
    words = structs.replace(beat.flags, postmaster_alive=alive)
    lsn = type(beat.flushed_lsn)(100 + sequence)
    return sealed_under(structs.replace(beat, flags=words, flushed_lsn=lsn, free_mib=free_mib), member)


async def test_beats_that_say_the_same_are_one_event_with_the_newest_words_and_the_count_of_them() -> None:
    async with ears() as one:
        await one.come(said(1))
        one.turn()
        for sequence in (2, 3, 4):
            one.clock.forward_ms(EVERY_MS)
            await one.come(said(sequence))
        assert not one.inbox.is_awake
        (event,) = one.turn()
        assert isinstance(event, BeatHeard)
        assert (event.beat.sequence, event.beat.flushed_lsn, event.merged) == (4, 104, 3)
        assert event.at == one.clock.now()
        assert one.turn() == []


async def test_news_wakes_the_loop_and_stands_for_the_beats_that_waited() -> None:
    async with ears() as one:
        await one.come(said(1))
        one.turn()
        await one.come(said(2), said(3), said(4, alive=False))
        assert one.inbox.is_awake
        (event,) = one.turn()
        assert isinstance(event, BeatHeard)
        assert (event.beat.postmaster_alive, event.merged) == (False, 3)


async def test_what_was_sent_before_and_comes_late_does_not_take_the_place_of_what_waits() -> None:
    async with ears() as one:
        await one.come(said(1))
        one.turn()
        await one.come(said(7), said(6, alive=False), said(5))
        (event,) = one.turn()
        assert isinstance(event, BeatHeard)
        assert (event.beat.sequence, event.beat.postmaster_alive) == (7, True)


async def test_a_report_that_came_after_a_waiting_beat_is_not_undone_by_it() -> None:
    async with ears() as one:
        await one.come(said(1))
        one.turn()
        one.clock.forward_ms(10)
        await one.come(said(2))
        one.clock.forward_ms(10)
        down = Facts(SHOP, A, INCARNATION, structs.replace(frame().obeyed), postmaster_alive=False)
        one.happen(FactsHeard(one.clock.now(), down))
        one.turn()
        facts = one.views[0].member(A).facts
        assert facts is not None
        assert not facts.postmaster_alive


async def test_a_beat_that_came_over_the_stream_makes_the_next_datagram_news_again() -> None:
    async with ears() as one:
        await one.come(said(1))
        one.turn()
        known = one.heard.find(SHOP, A)
        assert known is not None
        down = beat_of(frame(sequence=2), A)
        known.heard(one.clock.now(), boot_id=77, sequence=2, flags=frame().flags)
        one.happen(BeatHeard(one.clock.now(), structs.replace(down, postmaster_alive=False)))
        one.turn()
        await one.come(said(3))
        assert one.inbox.is_awake


async def test_all_speak_only_where_a_beat_of_every_member_waits() -> None:
    async with ears() as one:
        await one.come(said(1), said(1, "b"))
        one.turn()
        assert one.inbox.all_is_as_before(SHOP, A) is None
        await one.come(said(2))
        assert one.inbox.all_is_as_before(SHOP, A) is None
        one.clock.forward_ms(5)
        await one.come(said(2, "b"))
        assert one.inbox.all_is_as_before(SHOP, A) == before_ms(one.clock.now(), 5)
        await one.come(said(3, "b", alive=False))
        assert one.inbox.all_is_as_before(SHOP, A) is None


async def test_who_runs_out_of_room_is_looked_at_although_its_words_are_the_same() -> None:
    async with ears() as one:
        await one.come(said(1), said(1, "b"))
        one.turn()
        await one.come(said(2, free_mib=FULL_MIB - 1), said(2, "b"))
        assert one.inbox.all_is_as_before(SHOP, A) is None
        await one.come(said(3, free_mib=FULL_MIB))
        assert one.inbox.all_is_as_before(SHOP, A) == one.clock.now()


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_comes_in_whatever_order_the_engine_knows_the_same(seed: int) -> None:
    dice = random.Random(seed)
    async with ears() as one:
        for data in _story(dice, 300):
            await one.come(data)
            assert one.plain.is_awake or not one.inbox.is_awake
            one.clock.forward_ms(dice.choice((0, 1, 40, 250)))
            if dice.random() < 0.25:
                awake, before = one.inbox.is_awake, one.known()[0]
                one.turn()
                ours, theirs = one.known()
                assert ours == theirs
                assert awake or _words(before) == _words(ours)


def _words(known: dict[str, Any]) -> list[tuple[bool, int]]:
    return [
        (facts.postmaster_alive, known[what.replace("facts", "boot_id")])
        for what, facts in known.items()
        if what.endswith(" facts") and facts is not None
    ]


def _story(dice: random.Random, count: int) -> Iterator[bytes]:
    """Two agents that change their words now and then, start again, and whose datagrams overtake each other."""
    boots, sequences, alive = (
        dict.fromkeys(MEMBERS, 77),
        dict.fromkeys(MEMBERS, 0),
        dict.fromkeys(MEMBERS, True),
    )
    late: dict[str, list[bytes]] = {name: [] for name in MEMBERS}
    for _ in range(count):
        member = dice.choice(MEMBERS)
        if dice.random() < 0.02:
            boots[member], sequences[member], late[member] = boots[member] + 1, 0, []
        if dice.random() < 0.1:
            alive[member] = not alive[member]
        sequences[member] += 1
        data = said(sequences[member], member, alive=alive[member], boot_id=boots[member])
        if dice.random() < 0.15:
            late[member].append(data)
        else:
            yield data
        if late[member] and dice.random() < 0.4:
            yield late[member].pop(0)


# ---- suspicion in a fleet in which a turn comes seldom ----


def rhythm(dice: random.Random, lost_share: float, look_every_ms: int, minutes: int) -> tuple[int, int]:
    """A primary of the patient profile that speaks for so long, some datagrams lost: how often it is silent for longer
    than its threshold, and the threshold at the end. It is looked at in turn, and when its silence is due."""
    clock = HandClock()
    heard, view = Heard(clock, SECRET), ClusterView()
    heard.set_members([(SHOP, A, ())])
    known, inbox = heard.find(SHOP, A), Inbox(clock, quiet=heard)
    assert known is not None
    silences, looked_at, silent = 0, clock.now(), False
    for sequence in range(1, minutes * 60 * 1000 // EVERY_MS):
        clock.forward_ms(EVERY_MS)
        if dice.random() >= lost_share:
            known.heard_again(clock.now(), sequence, said(sequence))
            silent = False
        if clock.now() - looked_at >= look_every_ms * 1000 or _is_silent(view, clock.now()):
            looked_at = clock.now()
            for event in inbox.take(SHOP):
                view = observe(view, event)
            if _is_silent(view, clock.now()) and not silent:
                silences, silent = silences + 1, True
    return silences, threshold_ms(view.member(A), PATIENT, expected_every_ms=EVERY_MS)


async def test_beats_that_are_missing_are_seen_by_the_numbers_of_those_that_waited() -> None:
    async with ears() as one:
        await one.come(said(1))
        one.turn()
        one.clock.forward_ms(3 * EVERY_MS)
        await one.come(said(2), said(3), said(4))
        one.turn()
        assert one.views[0].member(A).missed_at == ()
        one.clock.forward_ms(3 * EVERY_MS)
        await one.come(said(5), said(7))
        one.turn()
        assert one.views[0].member(A).missed_at == (one.clock.now(),)


@pytest.mark.parametrize("seed", range(3))
def test_a_regular_primary_is_suspected_at_the_floor_however_seldom_it_is_looked_at(seed: int) -> None:
    for look_every_ms in (250, 8_000, 20_000):
        silences, limit_ms = rhythm(random.Random(seed), 0.0, look_every_ms, 5)
        assert (silences, limit_ms) == (0, PATIENT.suspect_floor_ms)


@pytest.mark.parametrize("seed", range(3))
def test_a_fifth_of_the_datagrams_lost_is_no_silence_however_seldom_it_is_looked_at(seed: int) -> None:
    for look_every_ms in (250, 8_000):
        silences, limit_ms = rhythm(random.Random(seed), 0.2, look_every_ms, 10)
        assert silences == 0
        assert PATIENT.suspect_floor_ms <= limit_ms <= PATIENT.suspect_ceiling_ms


def test_with_half_of_them_lost_a_primary_that_is_seldom_looked_at_is_suspected_hardly_more_often() -> None:
    """Its average gap stands for many beats, so its threshold is nearer to the floor; which costs a question each time."""
    often = sum(rhythm(random.Random(seed), 0.5, 250, 10)[0] for seed in range(6))
    seldom = sum(rhythm(random.Random(seed), 0.5, 8_000, 10)[0] for seed in range(6))
    assert seldom <= 2 * often + 3, (seldom, often)


def _is_silent(view: ClusterView, now: Instant) -> bool:
    return classify(view.member(A), now, PATIENT, expected_every_ms=EVERY_MS) is Liveness.SILENT
