"""Making and rebuilding data directories: initdb, clone, rewind; whose directory it is (R7, R9, R13)."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from agents.core.steps import (
    Clone,
    EndReceivers,
    Initdb,
    LocalCommit,
    MeasureEnd,
    PlaceHistories,
    PromotePostgres,
    Rewind,
    StartStandby,
    StepFailed,
    Untouched,
    WriteMarker,
    WriteSettings,
)
from agents.postgres.instance import Instance
from agents.postgres.versions import ServerVersion, version_mistakes
from common.assignment import Upstream
from common.errors import BadConfig
from common.facts import PostgresState
from common.ids import IncarnationId, MemberName
from common.rule import FENCE
from tests.adapters.postgres.kit import Home, Member, eventually, half_made

pytestmark = pytest.mark.real

NOBODY = Upstream(MemberName("nobody"), "127.0.0.1", 1)


async def failed_over(a: Member, b: Member, *, segments: int = 0) -> None:
    """`a` has rows that nobody else has, and `b` was promoted without them, so many segments of WAL later."""
    await a.serve()
    await b.follow(a)
    a.ask("create table t as select generate_series(1, 100) as i")
    for _ in range(segments):
        a.ask("select pg_logical_emit_message(false, 'primacy', 'x')")
        a.ask("select pg_switch_wal()")
    a.ask("select pg_logical_emit_message(false, 'primacy', 'x')")
    await eventually(lambda: b.has_replayed(a))
    await b.perform(WriteSettings(FENCE))
    await b.perform(EndReceivers())
    a.ask("insert into t select generate_series(101, 5000)")
    await b.perform(PromotePostgres(10_000))
    await b.perform(WriteSettings(""))
    await b.perform(LocalCommit())
    a.kill()
    await a.stop(clean=False)


async def rejoin(a: Member, b: Member) -> None:
    sight = await b.look()
    await a.perform(PlaceHistories(sight.timeline, sight.history))
    await a.follow(b, epoch=2)
    await eventually(lambda: a.has_replayed(b))


@pytest.mark.covers("R9", "S40", "T21", "T24")
async def test_a_diverged_member_is_rewound_and_streams_again(home: Home) -> None:
    async with home.member("a") as a, home.member("b") as b:
        await failed_over(a, b)
        await a.perform(WriteSettings(FENCE))
        await a.perform(Rewind(b.upstream))
        # The marker that it has now is not its own: until it is written anew, the directory is half-made.
        assert (await a.look()).postgres is PostgresState.HALF
        a.incarnation = "00000000000000ff"
        await a.mark()
        sight = await a.look()
        assert (sight.postgres, sight.marker_matches) == (PostgresState.STOPPED, True)
        await rejoin(a, b)
        assert a.ask("select count(*) from t") == 100
        assert (await a.perform(MeasureEnd())).timeline == 2


@pytest.mark.covers("R9")
async def test_a_rewind_is_given_up_where_the_source_has_removed_the_wal_that_it_begins_with(
    home: Home,
) -> None:
    """Started, it would ask for that for ever, and nobody could tell where it is."""
    settings = {"wal_keep_size": "0", "max_wal_size": "32MB", "min_wal_size": "32MB"}
    async with home.member("a") as a, home.member("b", settings=settings) as b:
        await failed_over(a, b)
        for _ in range(6):
            b.ask("select pg_switch_wal()")
            b.ask("select pg_logical_emit_message(false, 'primacy', 'x')")
        b.ask("checkpoint")
        await a.perform(WriteSettings(FENCE))
        with pytest.raises(StepFailed, match="has no WAL any more from"):
            await a.perform(Rewind(b.upstream))
        assert (await a.look()).postgres is PostgresState.HALF


async def test_of_the_segment_in_which_the_source_forked_off_its_own_file_is_needed(home: Home) -> None:
    """pg_rewind keeps the one of the old timeline, so that no number is missing; the start asked for the other one."""
    settings = {"wal_keep_size": "0", "max_wal_size": "32MB", "min_wal_size": "32MB"}
    async with home.member("a") as a, home.member("b", settings=settings) as b:
        await failed_over(a, b, segments=2)
        b.ask("checkpoint")
        fork = b.ask("select pg_walfile_name(pg_current_wal_lsn())")
        b.ask("select pg_logical_emit_message(false, 'primacy', 'x')")
        b.ask("select pg_switch_wal()")
        b.ask("select pg_logical_emit_message(false, 'primacy', 'x')")
        b.ask("checkpoint")
        assert not (b.wal / fork).exists()
        await a.perform(WriteSettings(FENCE))
        with pytest.raises(StepFailed, match="has no WAL any more from"):
            await a.perform(Rewind(b.upstream))


@pytest.mark.covers("R9", "S40")
async def test_a_diverged_member_is_cloned_and_streams_again(home: Home) -> None:
    async with home.member("a") as a, home.member("b") as b:
        await failed_over(a, b)
        await a.perform(WriteSettings(FENCE))
        await a.perform(Clone(b.upstream))
        assert (await a.look()).postgres is PostgresState.HALF
        assert a.instance.activity == ""
        await a.mark()
        await rejoin(a, b)
        assert a.ask("select count(*) from t") == 100


@pytest.mark.covers("R13", "T25")
async def test_a_clone_that_was_cut_short_is_seen_and_never_started(home: Home) -> None:
    async with home.member("a") as a, home.member("b") as b:
        await a.serve()
        cloning = asyncio.ensure_future(b.perform(Clone(a.upstream)))
        await eventually(lambda: (b.data / "primacy-new" / "base").exists())
        cloning.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cloning
        assert (await b.look()).postgres is PostgresState.HALF
        await b.perform(WriteSettings(FENCE))
        with pytest.raises(StepFailed, match="half"):
            await b.perform(StartStandby())
        await b.perform(Clone(a.upstream))
        await b.mark()
        await b.follow(a)


async def test_nothing_is_thrown_away_for_a_source_that_does_not_answer(home: Home) -> None:
    async with home.member("a") as a:
        await a.perform(WriteSettings(FENCE))
        for step in (Rewind(NOBODY), Clone(NOBODY)):
            with pytest.raises(Untouched, match="nobody takes no connection"):
                await a.perform(step)
            assert (await a.look()).postgres is PostgresState.STOPPED


@pytest.mark.covers("R13", "T25")
async def test_a_rewind_that_was_cut_short_is_not_repeated(home: Home) -> None:
    async with home.member("a") as a, home.member("b") as b:
        await b.serve()
        half_made(a, "rewind")
        assert (await a.look()).postgres is PostgresState.HALF
        with pytest.raises(StepFailed, match="whole"):
            await a.perform(Rewind(b.upstream))
        await a.perform(Clone(b.upstream))


async def test_nothing_is_rebuilt_while_postgresql_runs(home: Home) -> None:
    async with home.member("a") as a:
        await a.serve()
        for step in (Clone(NOBODY), Rewind(NOBODY)):
            with pytest.raises(StepFailed, match="runs"):
                await a.perform(step)


@pytest.mark.covers("T29")
async def test_initdb_is_refused_in_a_directory_that_is_not_empty(home: Home) -> None:
    async with home.member("a", empty=True) as a:
        assert (await a.look()).postgres is PostgresState.ABSENT
        (a.data / "somebody's").write_text("file")
        with pytest.raises(StepFailed, match="not empty"):
            await a.perform(Initdb())
        (a.data / "somebody's").unlink()
        # One of ours that was cut short counts as nothing, and is begun anew.
        half_made(a, "initdb")
        assert (await a.look()).postgres is PostgresState.ABSENT
        identifier = await a.perform(Initdb())
        await a.perform(WriteMarker(a.state(system_identifier=identifier)))
        sight = await a.look()
        assert (sight.postgres, sight.system_identifier) == (PostgresState.STOPPED, identifier)
        await a.serve()
        assert a.ask("show data_checksums") == "on"
        assert a.ask("show server_encoding") == "UTF8"


@pytest.mark.covers("R7")
async def test_the_marker_tells_another_incarnation_from_this_one(home: Home) -> None:
    async with home.member("a") as a:
        assert (await a.look()).marker_matches
        await a.perform(WriteMarker(a.state(incarnation=IncarnationId("00000000000000aa"))))
        sight = await a.look()
        assert (sight.postgres, sight.marker_matches) == (PostgresState.STOPPED, False)


@pytest.mark.covers("S44")
async def test_two_agents_on_one_data_directory_are_refused_with_both_names(home: Home) -> None:
    async with home.member("a") as a:
        other = replace(a.config, member=MemberName("z"))
        with pytest.raises(BadConfig, match=r"shop/z can't have .* shop/a \(process \d+"):
            await Instance(other, a.clock, lambda: "").__aenter__()
        assert (await a.look()).postgres is PostgresState.STOPPED


async def test_all_mistakes_of_the_configuration_are_told_together(home: Home) -> None:
    member = Member(home.path, home.bin_directory, "a")
    config = replace(
        member.config,
        state_directory=home.path / "nowhere",
        socket_directory=home.path / ("long" * 30),
        probe_password_file=home.path / "missing",
    )
    with pytest.raises(BadConfig) as raised:
        await Instance(config, member.clock, lambda: "").__aenter__()
    assert len(raised.value.mistakes) == 3


@pytest.mark.parametrize(
    ("version", "words"),
    [
        (ServerVersion(15, 12), "15.13"),
        (ServerVersion(16, 8), "16.9"),
        (ServerVersion(17, 4), "17.5"),
        (ServerVersion(14, 20), "not supported"),
        (ServerVersion(19, 0), "not supported"),
    ],
)
def test_versions_with_a_hole_are_refused_with_words(home: Home, version: ServerVersion, words: str) -> None:
    assert words in " ".join(version_mistakes(version, home.path, untested=False))
    assert not list(version_mistakes(version, home.path, untested=True))


def test_versions_that_are_tested_are_taken(home: Home) -> None:
    for version in (ServerVersion(15, 13), ServerVersion(16, 9), ServerVersion(17, 5), ServerVersion(18, 0)):
        assert not list(version_mistakes(version, home.path, untested=False))
