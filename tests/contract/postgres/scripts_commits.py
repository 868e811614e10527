"""Experiments on commits: when they wait, who releases them, what a client has been told (R5, R6; "Staying up").

Each docstring says what must be found, by the labels of docs/protocol.md and tests/model; the facts repeat it.
"""

from __future__ import annotations

from agents.core.steps import EndWalsender, LocalCommit, SeeCommitWait
from common.facts import PostgresState
from tests.contract.postgres.experiment import Experiments, Fact
from tests.contract.postgres.port import NOBODY, SOLO, Answer, Server

COMMITS = Experiments()


@COMMITS.add(
    "E7",
    members="a",
    facts={
        "while the checkpointer stalls": Answer.ACKNOWLEDGED,
        "once it goes on": Answer.WAITS,
        "when nobody is waited for again": Answer.ACKNOWLEDGED,
    },
)
async def a_rule_in_the_place_of_none_binds_nobody_until_the_checkpointer_has_it(
    a: Server,
) -> dict[str, Fact]:
    """E7, D5: whether backends wait at all is a flag that only the checkpointer sets. While it stalls, a rule that
    every new session shows acknowledges a commit alone. E7b: the flag taken back releases who waits."""
    await a.serve(SOLO)
    await a.stall_checkpointer()
    await a.put_in_force(NOBODY)
    alone = await (await a.insert(1)).outcome()
    await a.go_on_checkpointer()
    await a.makes_commits_wait(NOBODY)
    waits = await a.insert_and_wait(2)
    bound = await waits.after_a_while()
    await a.put_in_force(SOLO)
    return {
        "while the checkpointer stalls": alone,
        "once it goes on": bound,
        "when nobody is waited for again": await waits.outcome(),
    }


@COMMITS.add(
    "E2",
    members="a",
    facts={
        "by the old rule": Answer.WAITS,
        "by a mix of both": Answer.ACKNOWLEDGED,
        "by the new": Answer.WAITS,
    },
)
async def a_reload_half_taken_releases_a_commit_under_neither_rule(a: Server) -> dict[str, Fact]:
    """E2 B, D6: from ANY 2 of x, y, z to ANY 1 of x in one step, z's walsender slow. z alone has the commit. x's
    walsender takes its new k = 1 over the membership that z's still publishes, and releases it as soon as x replies
    with an old position. Ended and back, z's has the new rule, and z counts for nothing (R6 2)."""
    await a.serve(SOLO)
    await a.makes_commits_wait("ANY 2 (x,y,z)")
    x, _, z = [await a.attach_by_hand(name) for name in "xyz"]
    before = await a.position()
    commit = await a.insert_and_wait(1)
    only_z = await a.position()
    await z.report(only_z)
    old = await commit.after_a_while()
    await a.stall_walsender("z")
    await a.put_in_force("ANY 1 (x)")
    await x.report(before)
    mixed = await commit.outcome()
    await a.go_on_walsender("z")
    for pid in await a.walsenders("z"):
        await a.perform(EndWalsender(pid))
    z = await a.attach_by_hand("z")
    second = await a.insert_and_wait(2)
    await z.report(await a.position())
    return {"by the old rule": old, "by a mix of both": mixed, "by the new": await second.after_a_while()}


@COMMITS.add("E2", members="a", facts={"once": Answer.WAITS, "twice": Answer.ACKNOWLEDGED})
async def one_name_connected_twice_counts_twice(a: Server) -> dict[str, Fact]:
    """E2 C, D3: PostgreSQL counts connections, not standbys. ANY 2 of x, y is met by two connections named x."""
    await a.serve(SOLO)
    await a.makes_commits_wait("ANY 2 (x,y)")
    first, second = [await a.attach_by_hand("x") for _ in range(2)]
    commit = await a.insert_and_wait(1)
    position = await a.position()
    await first.report(position)
    once = await commit.after_a_while()
    await second.report(position)
    return {"once": once, "twice": await commit.outcome()}


@COMMITS.add(
    "E8",
    members="a",
    facts={
        "seen by others while it waits": False,
        "its client, cancelled": Answer.WARNED,
        "seen by others after it was cancelled": True,
        "its client, ended": Answer.LOST,
        "seen by others after it was ended": True,
    },
)
async def a_wait_that_is_cancelled_ends_as_a_success_with_a_warning(a: Server) -> dict[str, Fact]:
    """E8: a cancelled wait is answered as a success, with a WARNING, and the row is there, though perhaps nowhere
    else. A backend that is ended answers nothing, and the row is there too."""
    await a.serve(SOLO)
    await a.makes_commits_wait(NOBODY)
    commit = await a.insert_and_wait(1)
    before = 1 in await a.rows()
    cancelled = await commit.cancel()
    after = await a.shows(1)
    ended = await (await a.insert_and_wait(2)).terminate()
    return {
        "seen by others while it waits": before,
        "its client, cancelled": cancelled,
        "seen by others after it was cancelled": after,
        "its client, ended": ended,
        "seen by others after it was ended": await a.shows(2),
    }


@COMMITS.add(
    "E12",
    members="a",
    facts={
        "a new session is let in": False,
        "PostgreSQL started beside it": PostgresState.STOPPED,
        "its client": Answer.ACKNOWLEDGED,
        "started once it is gone": PostgresState.PRIMARY,
        "the row is there": True,
    },
)
async def a_busy_backend_outlives_its_postmaster_and_still_acknowledges(a: Server) -> dict[str, Fact]:
    """E12: the postmaster alone is killed. A backend that was busy goes on, nothing starts beside it (its shared
    memory is in use), nobody new is let in, and under a solo rule its client is told of a commit made after the
    death. So a primary is sealed only when no process of it is left (R1)."""
    await a.serve(SOLO)
    orphan = await a.leave_orphan(1)
    let_in = await a.lets_a_new_session_in()
    beside = await a.start_as_it_lies()
    told = await orphan.goes_on()
    after = await a.start_as_it_lies()
    there = await a.shows(1)
    return {
        "a new session is let in": let_in,
        "PostgreSQL started beside it": beside,
        "its client": told,
        "started once it is gone": after,
        "the row is there": there,
    }


@COMMITS.add("E12", members="a", facts={"its client": Answer.LOST, "the row is there": True})
async def an_orphan_that_must_wait_is_never_answered_and_leaves_its_row(a: Server) -> dict[str, Fact]:
    """E12 under a rule: the wait for a standby ends with the postmaster, and the client is told nothing. The commit
    is on disk all the same, so the end of this primary's log may still move after the death (R1: until nothing
    of it is left)."""
    await a.serve(SOLO)
    await a.makes_commits_wait(NOBODY)
    orphan = await a.leave_orphan(2)
    told = await orphan.goes_on()
    await a.stop(clean=False)
    await a.serve(NOBODY)
    return {"its client": told, "the row is there": await a.shows(2)}


@COMMITS.add(
    "E27",
    members="a",
    facts={"its client": Answer.LOST, "seen before": False, "seen after the restart": True},
)
async def a_commit_that_waited_is_seen_after_a_crash_restart_without_any_quorum(a: Server) -> dict[str, Fact]:
    """E27: a commit that waits is on disk, and a crash restart shows it to everybody though no standby has it.
    So a start as primary is closed until a later commit was acknowledged (R8)."""
    await a.serve(SOLO)
    await a.makes_commits_wait(NOBODY)
    commit = await a.insert_and_wait(1)
    before = 1 in await a.rows()
    await a.kill()
    told = await commit.outcome()
    await a.serve(NOBODY)
    return {"its client": told, "seen before": before, "seen after the restart": await a.shows(1)}


@COMMITS.add(
    "E28", members="a", facts={"while the primary stands still": Answer.WAITS, "after": Answer.ACKNOWLEDGED}
)
async def a_reply_sent_before_the_silence_is_counted_after_the_thaw(a: Server) -> dict[str, Fact]:
    """E28, and "promise 2 taken literally" in the model: a standby flushed, replied and fell silent while the
    primary stood still. The thawed primary finds the reply in its socket and acknowledges, however late."""
    await a.serve(SOLO)
    await a.makes_commits_wait("ANY 1 (x)")
    x = await a.attach_by_hand("x")
    commit = await a.insert_and_wait(1)
    position = await a.position()
    await a.freeze()
    await x.report(position)
    await x.fall_silent()
    still = await commit.after_a_while()
    await a.thaw()
    return {"while the primary stands still": still, "after": await commit.outcome()}


@COMMITS.add(
    "E28",
    "E7",
    members="a",
    facts={"under solo": False, "under a rule": True, "once it is taken back": False},
)
async def a_probe_commit_waits_as_a_client_s_does(a: Server) -> dict[str, Fact]:
    """E28 B: what an agent proves with a probe commit, and what it sees waiting on the way from solo to a rule (R6 2),
    is the wait of every commit, also at wal_level = replica, where nothing decodes its message."""
    await a.serve(SOLO)

    async def probe_waits() -> bool:
        return bool(await a.perform(SeeCommitWait(within_ms=5_000)))

    solo = await probe_waits()
    await a.put_in_force(NOBODY)
    ruled = await a.holds(probe_waits)
    await a.put_in_force(SOLO)
    await (await a.insert(1)).outcome()
    return {"under solo": solo, "under a rule": ruled, "once it is taken back": await probe_waits()}


@COMMITS.add(
    "E21",
    "V10",
    members="abc",
    facts={
        "under the fence": Answer.WAITS,
        "with the new rule and a standby": Answer.ACKNOWLEDGED,
        "the standby has it": True,
    },
)
async def the_fence_holds_over_a_promotion_until_a_rule_replaces_it(
    a: Server, b: Server, c: Server
) -> dict[str, Fact]:
    """E21, E7: a standby that ran with the fence acknowledges nothing after its promotion. The rule written in its
    place, with its standby attached and a small local commit (V10), releases the waiter, and not before."""
    await a.serve(SOLO)
    for one in (b, c):
        await one.follow(a)
    await a.has_inserted(1)
    assert await b.shows(1)
    assert await c.shows(1)
    await a.kill()
    await b.seal()
    await c.seal()
    await b.promote()
    commit = await b.insert(2)
    fenced = await commit.after_a_while()
    await b.put_in_force(f'ANY 1 ("{c.streams_as(2)}")')
    await c.place_histories_of(b)
    await c.follow(b, epoch=2)
    await b.perform(LocalCommit())
    lifted = await commit.outcome()
    return {
        "under the fence": fenced,
        "with the new rule and a standby": lifted,
        "the standby has it": await c.shows(2),
    }


@COMMITS.add("E23", members="ab", facts={"is back": True, "as another process": True})
async def a_walsender_that_is_ended_comes_back_as_another_process(a: Server, b: Server) -> dict[str, Fact]:
    """E23: that is how an agent knows that every walsender has the rule (R6 2): ended, each is forked anew from a
    postmaster that has it."""
    await a.serve(SOLO)
    await b.follow(a)
    name = b.streams_as()
    before = await a.walsenders(name)
    for pid in before:
        await a.perform(EndWalsender(pid))

    async def is_another() -> bool:
        return bool(await a.walsenders(name) - before)

    back = await a.holds(is_another)
    return {"is back": back, "as another process": not before & await a.walsenders(name)}
