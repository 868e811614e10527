"""Experiments on promotions and timelines: which id is taken, who can follow, what a rewind sees (R4, R8, R9, R11).

Each docstring says what must be found, by the labels of docs/protocol.md and tests/model; the facts repeat it.
"""

from __future__ import annotations

from agents.core.steps import EndReceivers, PlaceHistories, PlantPlaceholders, RemoveHistories, StartStandby
from common.assignment import HistoryStep
from common.facts import PostgresState
from tests.contract.postgres.experiment import Difference, Experiments, Fact
from tests.contract.postgres.port import NOBODY, SOLO, Answer, Server

TIMELINES = Experiments()


async def _one_is_sealed(a: Server, *standbys: Server) -> None:
    """All have the first row, the primary is gone, its standbys are sealed."""
    await a.serve(SOLO)
    for one in standbys:
        await one.follow(a)
    await a.has_inserted(1)
    for one in standbys:
        assert await one.shows(1)
    await a.kill()
    for one in standbys:
        await one.seal()


@TIMELINES.add(
    "E6",
    "E25",
    "F4",
    members="abc",
    facts={
        "a running standby heeds them": False,
        "first": 5,
        "files then": ("2 placeholder", "3 placeholder", "4 placeholder", "5 real"),
        "a latecomer follows": True,
        "second": 8,
    },
)
async def a_promotion_takes_the_id_after_the_highest_history_file(
    a: Server, b: Server, c: Server
) -> dict[str, Fact]:
    """E6, E25: a standby that runs heeds no placeholder; its promotion counts up while there is a file, and takes the
    next id, twice in a row. F4: with the files placed by its agent a member on timeline 1 follows."""
    await _one_is_sealed(a, b, c)
    await b.perform(PlantPlaceholders(parent=1, timelines=(4, 3, 2)))
    heeds = await b.role() is not PostgresState.STANDBY
    first = await b.promote()
    files = await b.histories()
    await b.put_in_force(SOLO)
    await c.place_histories_of(b)
    await c.follow(b, epoch=2)
    await b.has_inserted(2)
    follows = await c.shows(2)
    await b.kill()
    await c.seal()
    await c.perform(PlantPlaceholders(parent=5, timelines=(7, 6)))
    return {
        "a running standby heeds them": heeds,
        "first": first,
        "files then": files,
        "a latecomer follows": follows,
        "second": await c.promote(),
    }


@TIMELINES.add(
    "F5",
    "V2",
    members="ab",
    facts={"started by hand": PostgresState.STOPPED, "by its agent": PostgresState.STANDBY, "promoted to": 2},
)
async def placeholders_with_nothing_real_above_make_a_start_fail(a: Server, b: Server) -> dict[str, Fact]:
    """F5, V2: a candidate that died between planting and promotion is no child of its newest timeline: FATAL. The
    agent takes the trailing ones away before every start that is not as primary (R8)."""
    await _one_is_sealed(a, b)
    await b.perform(PlantPlaceholders(parent=1, timelines=(3, 2)))
    await b.kill()
    by_hand = await b.start_as_it_lies()
    await b.stop(clean=False)
    await b.perform(StartStandby())
    return {"started by hand": by_hand, "by its agent": await b.role(), "promoted to": await b.promote()}


@TIMELINES.add(
    "F1",
    members="abcd",
    facts={
        "files of one that runs": ("2 placeholder", "3 placeholder"),
        "files of one that was started": ("2 placeholder", "3 real"),
    },
)
async def a_target_that_was_seen_once_is_the_parent_of_a_promotion(
    a: Server, b: Server, c: Server, d: Server
) -> dict[str, Fact]:
    """F1, R11: who looked for WAL while the file of timeline 2 was there remembers that as its target, whatever becomes
    of the file. A placeholder in its place is copied into the history of 3, marker and all, with 2 as the parent, of
    which it has no record. Only a start forgets it."""
    await _one_is_sealed(a, b, c, d)
    assert await b.promote() == 2
    for one in (c, d):
        await one.place_histories_of(b)
    await b.kill()
    for one in (c, d):
        await one.point_at(b, epoch=2, slot=False)
        assert await one.never(one.is_primary), "it looks for WAL meanwhile, in vain"
        await one.seal()
    await d.stop(clean=False)
    await d.perform(RemoveHistories((2,)))
    await d.perform(StartStandby())
    files = []
    for one in (c, d):
        await one.perform(PlantPlaceholders(parent=1, timelines=(2,)))
        await one.signal_promotion()
        assert await one.holds(one.is_primary)
        files.append(await one.histories())
    return {"files of one that runs": files[0], "files of one that was started": files[1]}


@TIMELINES.add("F1", "F2", "F4", "V1", members="abc", facts={"without it": False, "with all of them": True})
async def one_history_file_missing_in_between_strands_a_follower(
    a: Server, b: Server, c: Server
) -> dict[str, Fact]:
    """F1, F2, V1: who goes from timeline 1 to 4 fetches 2, 3 and 4 from its upstream, and never streams while one is
    missing. Placed by its own agent they let it in (F4). So placeholders below a real file stay for ever."""
    await _one_is_sealed(a, b, c)
    await b.perform(PlantPlaceholders(parent=1, timelines=(3, 2)))
    assert await b.promote() == 4
    await b.put_in_force(SOLO)
    await b.lose_histories((2, 3))
    await b.has_inserted(2)
    await c.point_at(b, epoch=2)

    async def has_it() -> bool:
        return 2 in await c.rows()

    without = not await c.never(has_it)
    await c.place_histories_of(b)
    return {"without it": without, "with all of them": await c.holds(has_it)}


@TIMELINES.add(
    "F9",
    "F10",
    "V5",
    members="abc",
    facts={
        "standby.signal is there": False,
        "started by its agent": PostgresState.STANDBY,
        "its next promotion takes": 3,
        "started by hand": PostgresState.PRIMARY,
    },
)
async def a_candidate_killed_inside_its_promotion_is_a_primary_to_whoever_starts_it_by_hand(
    a: Server, b: Server, c: Server
) -> dict[str, Fact]:
    """F9, F10, V5: from the moment its history file is there, standby.signal is not. Its agent puts that back, it
    comes up as a standby, and the id is spent. Started as it lies it is a primary, which nobody ordered."""
    await _one_is_sealed(a, b, c)
    for one in (b, c):
        await one.signal_promotion()

        async def has_its_file(member: Server = one) -> bool:
            return "2 real" in await member.histories()

        assert await one.holds(has_its_file)
        await one.kill()
    signal = await b.has_standby_signal()
    await b.perform(StartStandby())
    role = await b.role()
    spent = await b.promote()
    by_hand = await c.start_as_it_lies()
    return {
        "standby.signal is there": signal,
        "started by its agent": role,
        "its next promotion takes": spent,
        "started by hand": by_hand,
    }


_CHECKPOINT = Difference(
    16,
    {"right after the promotion": "rewound", "after a checkpoint": "rewound before"},
    "pg_rewind looks at the source's end of recovery too: right at once. `agents/postgres/making.py` orders the "
    "CHECKPOINT up to 15 only, and everywhere takes a rewind that found nothing to do for a failure.",
)


@TIMELINES.add(
    "E10",
    "V14",
    members="ab",
    facts={"right after the promotion": "nothing to do", "after a checkpoint": "rewound", "follows": True},
    differences=(_CHECKPOINT,),
)
async def a_rewind_right_after_a_promotion_finds_nothing_to_do_before_a_checkpoint(
    a: Server, b: Server
) -> dict[str, Fact]:
    """E10, V14: until the new primary's first checkpoint its control file names the old timeline, and pg_rewind of 15
    believes it: "no rewind required", for a member that has diverged. After a CHECKPOINT it is right."""
    await a.serve(SOLO)
    await b.follow(a)
    await a.has_inserted(1)
    assert await b.shows(1)
    await b.seal()
    await a.has_inserted(2)
    await a.stop(clean=True)
    await b.stall_checkpointer()
    await b.promote()
    at_once = await a.rewind(b)
    await b.go_on_checkpointer()
    await b.put_in_force(SOLO)
    later = at_once or await a.checkpoint_and_rewind(b)
    await a.place_histories_of(b)
    await a.follow(b, epoch=2)
    await b.has_inserted(3)
    words = ("rewound before" if at_once else "rewound") if later else "nothing to do"
    return {
        "right after the promotion": "rewound" if at_once else "nothing to do",
        "after a checkpoint": words,
        "follows": await a.shows(3) and 2 not in await a.rows(),
    }


@TIMELINES.add(
    "E10b",
    members="abc",
    facts={"ids": (2, 2), "a rewind finds": "nothing to do", "the other's client": Answer.ACKNOWLEDGED},
)
async def two_branches_with_one_id_are_one_to_postgresql(a: Server, b: Server, c: Server) -> dict[str, Fact]:
    """E10b, D10: two standbys promoted to one id. pg_rewind compares ids and finds nothing to do; the walsender of one
    takes the other for its follower, and its reply acknowledges. (Right after it the real one meets a record that does
    not follow on its own, and ends its receiver; so all that is to be acknowledged must come in one piece. The model lets
    it stream on.) So ids are allocated and never used twice (R11)."""
    await _one_is_sealed(a, b, c)
    ids = (await b.promote(), await c.promote())
    for one in (b, c):
        await one.put_in_force(SOLO)
    await b.has_inserted(10)
    await c.write_some()
    await b.stop(clean=True)
    found = await b.checkpoint_and_rewind(c)
    await c.makes_commits_wait(NOBODY)
    await c.put_in_force(f'ANY 1 ("{b.streams_as(2)}")')
    commit = await c.insert_and_wait(100)
    await b.point_at(c, epoch=2)
    told = await commit.outcome()
    return {
        "ids": ids,
        "a rewind finds": "something" if found else "nothing to do",
        "the other's client": told,
    }


@TIMELINES.add(
    "E30",
    members="abc",
    facts={"promoted to": 3, "follows": False, "once its file is gone": True},
)
async def a_standby_never_leaves_its_target_for_a_sibling(a: Server, b: Server, c: Server) -> dict[str, Fact]:
    """E30: it attached to a primary of timeline 2 and got no record of it; the next one forks off the same parent. It
    asks for timeline 2 until it is started anew without that one's file (R9)."""
    await _one_is_sealed(a, b, c)
    end = await c.measure()
    await c.perform(PlaceHistories(2, (HistoryStep(1, end.end_lsn),)))
    await c.kill()
    await c.perform(StartStandby())
    await b.perform(PlantPlaceholders(parent=1, timelines=(2,)))
    promoted = await b.promote()
    await b.put_in_force(SOLO)
    await c.place_histories_of(b)
    await c.point_at(b, epoch=2)
    await b.has_inserted(2)

    async def has_the_row() -> bool:
        return 2 in await c.rows()

    follows = not await c.never(has_the_row)
    await c.withdraw()
    await c.stop(clean=True)
    await c.perform(RemoveHistories((2,)))
    await c.place_histories_of(b)
    await c.follow(b, epoch=2)
    return {"promoted to": promoted, "follows": follows, "once its file is gone": await c.shows(2)}


@TIMELINES.add("E18", members="ab", facts={"promoted all the same": True})
async def a_promotion_that_was_signalled_survives_a_seal_by_settings(a: Server, b: Server) -> dict[str, Fact]:
    """E18: address withdrawn, receivers ended, and it is a primary a moment later. So a member that was told to
    promote since its start seals by stopping (R1)."""
    await a.serve(SOLO)
    await b.follow(a)
    await a.has_inserted(1)
    assert await b.shows(1)
    await b.signal_promotion()
    await b.withdraw()
    await b.perform(EndReceivers())
    return {"promoted all the same": await b.holds(b.is_primary)}
