"""Experiments on streams: what a receiver and a walsender do when they should not, and what a seal ends (R1, R9, R12).

Each docstring says what must be found, by the labels of docs/protocol.md and tests/model; the facts repeat it.
"""

from __future__ import annotations

from agents.core.steps import EndReceivers, MakeSlots, StartStandby
from tests.contract.postgres.experiment import Experiments, Fact
from tests.contract.postgres.port import NOBODY, SOLO, Answer, Refused, Server, row_is_below

STREAMS = Experiments()


@STREAMS.add(
    "E1",
    members="abc",
    facts={"its client": Answer.ACKNOWLEDGED, "the standby has it": False, "the new primary has it": True},
)
async def a_diverged_standby_is_counted_for_what_it_has_not(
    a: Server, b: Server, c: Server
) -> dict[str, Fact]:
    """E1, D3: c is ahead of b on the old timeline, b is promoted, c attaches to it without R9's comparison. The first
    reply of its receiver says how far it is, before the timeline is checked: b's commit is acknowledged, and
    no other server has it."""
    await a.serve(SOLO)
    for one in (b, c):
        await one.follow(a)
    await a.has_inserted(1)
    assert await b.shows(1)
    await b.seal()
    await a.write_much()
    await a.has_inserted(2)
    assert await c.shows(2)
    await a.kill()
    await b.promote()
    await b.put_in_force(f'ANY 1 ("{c.streams_as(2)}")')
    await c.point_at(b, epoch=2)
    told = await (await b.insert(100)).outcome()
    return {
        "its client": told,
        "the standby has it": 100 in await c.rows(),
        "the new primary has it": 100 in await b.rows(),
    }


@STREAMS.add(
    "E4",
    "V8",
    members="ab",
    facts={
        "the receiver outlives the withdrawal": True,
        "acknowledged after the withdrawal": Answer.ACKNOWLEDGED,
        "a receiver is left after its end was ordered": False,
        "acknowledged after that": Answer.WAITS,
        "one comes back": False,
        "the end has what was acknowledged": True,
    },
)
async def a_standby_whose_replay_is_paused_acknowledges_until_its_receiver_is_ended(
    a: Server, b: Server
) -> dict[str, Fact]:
    """E4, D4: with replay paused, address and slot withdrawn and a reload, the receiver lives on and acknowledges. A
    signal ends it; the startup process starts no other one, as the service file has no address any more (V8);
    and the end that is measured then has everything that was acknowledged."""
    await a.serve(SOLO)
    await b.follow(a)
    await a.makes_commits_wait(NOBODY)
    await a.put_in_force(f'ANY 1 ("{b.streams_as()}")')
    await a.has_inserted(1)
    assert await b.shows(1)
    await b.pause_replay()
    await b.withdraw()
    outlives = await b.never(b.lacks_receiver)
    told = await (await a.insert(2)).outcome()
    position = await a.position()
    await b.perform(EndReceivers())
    left = await b.has_receiver()
    then = await (await a.insert(3)).after_a_while()
    back = not await b.never(b.has_receiver)
    return {
        "the receiver outlives the withdrawal": outlives,
        "acknowledged after the withdrawal": told,
        "a receiver is left after its end was ordered": left,
        "acknowledged after that": then,
        "one comes back": back,
        "the end has what was acknowledged": row_is_below(await b.measure(), position),
    }


@STREAMS.add("E4", "G1", members="ab", facts={"the receiver ends by itself": True})
async def with_replay_running_the_withdrawal_alone_ends_the_receiver(a: Server, b: Server) -> dict[str, Fact]:
    """G1 (a): the startup process, caught up and waiting for WAL, takes the reload and ends a receiver whose address
    is not in the settings any more. It is only nothing to rely on (E4)."""
    await a.serve(SOLO)
    await b.follow(a)
    await a.has_inserted(1)
    assert await b.shows(1)
    await b.withdraw()
    return {"the receiver ends by itself": await b.holds(b.lacks_receiver)}


@STREAMS.add(
    "E5",
    members="ab",
    facts={"flushed is known": True, "after a restart": False, "the end is the same": True},
)
async def what_was_flushed_is_not_known_after_a_restart_but_the_end_is(
    a: Server, b: Server
) -> dict[str, Fact]:
    """E5, V6: pg_last_wal_receive_lsn() outlives the receiver and not the server: NULL, or a segment's start. The scan
    finds the same end."""
    await a.serve(SOLO)
    await b.follow(a)
    await a.has_inserted(1)
    assert await b.has_received(await a.position())
    await b.shows(1)
    before = await b.seal()
    await b.kill()
    await b.perform(StartStandby())
    after = await b.measure()
    return {
        "flushed is known": before.flushed_lsn is not None,
        "after a restart": after.flushed_lsn is not None,
        "the end is the same": (before.timeline, before.end_lsn) == (after.timeline, after.end_lsn),
    }


@STREAMS.add("E15", members="ab", facts={"without its slot": False, "with it": True})
async def a_standby_without_the_slot_of_its_epoch_is_refused(a: Server, b: Server) -> dict[str, Fact]:
    """E15, R12: a slot that is not there refuses the connection before anything is counted; made, it lets it in."""
    await a.serve(SOLO)
    await b.point_at(a, slot=False)

    async def is_in() -> bool:
        return bool(await a.walsenders(b.streams_as()))

    without = not await a.never(is_in)
    await a.perform(MakeSlots((b.stream_from(a, 1).slot,), 1))
    return {"without its slot": without, "with it": await a.holds(is_in)}


@STREAMS.add("H2", members="ab", facts={"after a crash": True, "after a rewind": False})
async def slots_survive_a_crash_and_not_a_rewind(a: Server, b: Server) -> dict[str, Fact]:
    """H2: a slot is on disk with the server's own state, so it survives a crash restart; what was rewound has the
    files of its source and none of its own slots: they are made again for each epoch (R12)."""
    await a.serve(SOLO)
    await b.follow(a)
    await a.has_inserted(1)
    assert await b.shows(1)
    slot = b.stream_from(a, 1).slot
    before = await a.has_slot(slot)
    await a.kill()
    await a.serve(SOLO)
    after = await a.has_slot(slot)
    await b.seal()
    await a.has_inserted(2)
    await a.stop(clean=True)
    await b.promote()
    assert await a.checkpoint_and_rewind(b)
    await a.place_histories_of(b)
    await a.follow(b, epoch=2)
    return {"after a crash": before and after, "after a rewind": await a.has_slot(slot)}


@STREAMS.add("E16", members="ab", facts={"a second connection is": "refused", "the first goes on": True})
async def a_slot_in_use_refuses_a_second_connection(a: Server, b: Server) -> dict[str, Fact]:
    """E16, R12: what PostgreSQL has against one member counted twice is the slot, not the name (E2 C)."""
    await a.serve(SOLO)
    await b.follow(a)
    try:
        await a.attach_by_hand("x", slot=b.stream_from(a, 1).slot)
        second = "let in"
    except Refused:
        second = "refused"
    return {"a second connection is": second, "the first goes on": bool(await a.walsenders(b.streams_as()))}


@STREAMS.add("E17", members="ab", facts={"stopped cleanly": True, "the standby has all of it": True})
async def a_clean_stop_drains_to_its_standby(a: Server, b: Server) -> dict[str, Fact]:
    """E17: at a handover the standby has the end of the shutdown record; nothing is lost, nobody is rewound."""
    await a.serve(SOLO)
    await b.follow(a)
    await a.has_inserted(1)
    clean = await a.stop(clean=True)
    end = await a.measure()
    return {"stopped cleanly": clean, "the standby has all of it": (await b.seal()).end_lsn == end.end_lsn}
