"""What every store must do: real etcd, and the in-memory model that the simulator uses.

A test module derives from these classes and provides one fixture, `world`. The model and the real thing pass
the same cases, or what the simulator proves is worth nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

import pytest

from common.errors import LostLeadership, OutcomeUnknown, Refused
from orchestrator.ports import (
    BODY_BYTES_MAX,
    Conflict,
    HistoryStore,
    Note,
    RecordStore,
    Shelf,
    SpecStore,
    Term,
)

FEED_WITHIN_S = 5


class World(Protocol):
    """What the cases need besides the ports themselves."""

    @property
    def records(self) -> RecordStore: ...
    @property
    def specs(self) -> SpecStore: ...
    @property
    def history(self) -> HistoryStore: ...

    async def elect(self) -> Term:
        """A new term; the one before it is over."""
        ...

    def lose_next_answer(self, *, stored: bool) -> None:
        """The next write reaches etcd or not, and its sender hears nothing."""
        ...

    def delay_next_write(self) -> None:
        """The sender of the next write hears nothing, and etcd gets it only at `deliver_delayed`."""
        ...

    async def deliver_delayed(self) -> None: ...


class RecordStoreContract:
    async def test_a_cluster_without_a_record_loads_as_nothing(self, world: World) -> None:
        assert await world.records.load("main") is None

    async def test_what_was_saved_is_loaded_with_its_revision(self, world: World) -> None:
        term = await world.elect()
        first = await world.records.save("main", b"one", 0, term)
        second = await world.records.save("main", b"two", first, term)
        assert second > first
        stored = await world.records.load("main")
        assert stored is not None
        assert (stored.body, stored.mod_revision) == (b"two", second)

    async def test_clusters_do_not_touch_each_other(self, world: World) -> None:
        term = await world.elect()
        await world.records.save("main", b"one", 0, term)
        await world.records.save("other", b"two", 0, term)
        stored = await world.records.load("main")
        assert stored is not None
        assert stored.body == b"one"

    async def test_saving_the_same_bytes_again_is_a_new_revision(self, world: World) -> None:
        term = await world.elect()
        first = await world.records.save("main", b"one", 0, term)
        assert await world.records.save("main", b"one", first, term) > first

    @pytest.mark.covers("T66")
    @pytest.mark.parametrize("expected", [0, -1], ids=["as_if_absent", "an_older_revision"])
    async def test_a_save_that_expects_another_revision_conflicts_and_changes_nothing(
        self, world: World, expected: int
    ) -> None:
        term = await world.elect()
        first = await world.records.save("main", b"one", 0, term)
        second = await world.records.save("main", b"two", first, term)
        with pytest.raises(Conflict) as refused:
            await world.records.save("main", b"three", 0 if expected == 0 else first, term)
        assert refused.value.found == second
        stored = await world.records.load("main")
        assert stored is not None
        assert stored.body == b"two"

    async def test_a_save_that_expects_a_record_where_there_is_none_conflicts(self, world: World) -> None:
        term = await world.elect()
        with pytest.raises(Conflict) as refused:
            await world.records.save("main", b"one", 17, term)
        assert refused.value.found == 0

    async def test_a_conflict_of_identical_bytes_is_still_a_conflict(self, world: World) -> None:
        term = await world.elect()
        await world.records.save("main", b"one", 0, term)
        with pytest.raises(Conflict):
            await world.records.save("main", b"one", 0, term)

    async def test_terms_only_grow(self, world: World) -> None:
        first, second = await world.elect(), await world.elect()
        assert second.create_revision > first.create_revision

    @pytest.mark.covers("T63")
    async def test_a_term_that_is_over_saves_nothing_however_late(self, world: World) -> None:
        old = await world.elect()
        revision = await world.records.save("main", b"one", 0, old)
        new = await world.elect()
        with pytest.raises(LostLeadership):
            await world.records.save("main", b"late", revision, old)
        newest = await world.records.save("main", b"two", revision, new)
        with pytest.raises(LostLeadership):
            await world.records.save("main", b"later", newest, old)
        stored = await world.records.load("main")
        assert stored is not None
        assert stored.body == b"two"

    async def test_a_term_that_is_over_hears_of_that_first_even_if_the_record_changed_too(
        self, world: World
    ) -> None:
        old = await world.elect()
        await world.records.save("main", b"one", 0, old)
        await world.elect()
        with pytest.raises(LostLeadership):
            await world.records.save("main", b"late", 0, old)

    @pytest.mark.parametrize("beyond", [pytest.param(0, id="largest"), pytest.param(1, id="too_large")])
    async def test_the_size_of_a_record_is_bounded_exactly(self, world: World, beyond: int) -> None:
        term = await world.elect()
        body = b"x" * (BODY_BYTES_MAX + beyond)
        if beyond:
            with pytest.raises(Refused):
                await world.records.save("main", body, 0, term)
            assert await world.records.load("main") is None
        else:
            await world.records.save("main", body, 0, term)
            stored = await world.records.load("main")
            assert stored is not None
            assert stored.body == body

    @pytest.mark.parametrize("stored", [True, False])
    async def test_after_a_lost_answer_the_save_is_settled_or_unknown_and_work_goes_on(
        self, world: World, stored: bool
    ) -> None:
        term = await world.elect()
        first = await world.records.save("main", b"one", 0, term)
        world.lose_next_answer(stored=stored)
        try:
            revision = await world.records.save("main", b"two", first, term)
        except OutcomeUnknown:
            found = await world.records.load("main")
            assert found is not None
            assert (found.body, found.mod_revision > first) in {(b"two", True), (b"one", False)}
            revision = found.mod_revision
        else:
            found = await world.records.load("main")
            assert found is not None
            assert (found.body, found.mod_revision) == (b"two", revision)
        await world.records.save("main", b"three", revision, term)

    async def test_a_save_that_lands_late_overwrites_nothing(self, world: World) -> None:
        term = await world.elect()
        first = await world.records.save("main", b"one", 0, term)
        world.delay_next_write()
        try:
            revision = await world.records.save("main", b"two", first, term)
        except OutcomeUnknown:
            revision = first
        third = await world.records.save("main", b"three", revision, term)
        await world.deliver_delayed()
        found = await world.records.load("main")
        assert found is not None
        assert (found.body, found.mod_revision) == (b"three", third)

    async def test_a_lost_answer_across_the_end_of_the_term_is_lost_leadership(self, world: World) -> None:
        old = await world.elect()
        first = await world.records.save("main", b"one", 0, old)
        await world.elect()
        world.lose_next_answer(stored=True)
        with pytest.raises((LostLeadership, OutcomeUnknown)):
            await world.records.save("main", b"late", first, old)
        found = await world.records.load("main")
        assert found is not None
        assert found.body == b"one"


class SpecStoreContract:
    async def test_a_specification_is_saved_on_what_its_author_has_read(self, world: World) -> None:
        first = await world.specs.save("main", b"three members", 0)
        second = await world.specs.save("main", b"five members", first)
        with pytest.raises(Conflict):
            await world.specs.save("main", b"four members", first)
        stored = await world.specs.load("main")
        assert stored is not None
        assert (stored.cluster, stored.body, stored.mod_revision) == ("main", b"five members", second)

    async def test_a_cluster_nobody_asked_for_has_no_specification(self, world: World) -> None:
        assert await world.specs.load("main") is None
        assert await world.specs.load_all() == {}

    async def test_a_specification_that_is_too_large_is_refused(self, world: World) -> None:
        with pytest.raises(Refused):
            await world.specs.save("main", b"x" * (BODY_BYTES_MAX + 1), 0)

    async def test_all_specifications_are_found_between_records_and_history(self, world: World) -> None:
        term = await world.elect()
        for cluster in ("a", "a-b", "b"):
            await world.specs.save(cluster, cluster.encode(), 0)
        for cluster in ("a", "b", "recordonly"):
            await world.records.save(cluster, b"{}", 0, term)
            await world.history.put(Shelf.INCIDENTS, cluster, "i1", b"{}", term)
        found = await world.specs.load_all()
        bodies = {cluster: spec.body for cluster, spec in found.items()}
        assert bodies == {"a": b"a", "a-b": b"a-b", "b": b"b"}

    async def test_the_feed_tells_of_what_is_there_and_of_what_comes(self, world: World) -> None:
        await world.specs.save("a", b"1", 0)
        async with asyncio.timeout(FEED_WITHIN_S), world.specs.feed() as feed:
            assert set(await anext(feed)) == {"a"}
            revision = await world.specs.save("b", b"2", 0)
            assert set(await anext(feed)) == {"a", "b"}
            await world.specs.save("b", b"3", revision)
            assert (await anext(feed))["b"].body == b"3"

    async def test_the_feed_is_silent_about_records(self, world: World) -> None:
        term = await world.elect()
        await world.specs.save("a", b"1", 0)
        async with asyncio.timeout(FEED_WITHIN_S), world.specs.feed() as feed:
            await anext(feed)
            await world.records.save("a", b"{}", 0, term)
            await world.specs.save("b", b"2", 0)
            assert set(await anext(feed)) == {"a", "b"}


class HistoryStoreContract:
    @pytest.mark.parametrize("shelf", list(Shelf))
    async def test_a_note_is_written_and_overwritten(self, world: World, shelf: Shelf) -> None:
        term = await world.elect()
        first = await world.history.put(shelf, "main", "7", b"begun", term)
        second = await world.history.put(shelf, "main", "7", b"done", term)
        assert second > first
        note = await world.history.get(shelf, "main", "7")
        assert note is not None
        assert (note.id, note.body, note.mod_revision) == ("7", b"done", second)

    async def test_the_note_that_was_begun_last_comes_first(self, world: World) -> None:
        term = await world.elect()
        for note_id in ("b", "a", "c"):
            await world.history.put(Shelf.OPERATIONS, "main", note_id, b"begun", term)
        await world.history.put(Shelf.OPERATIONS, "main", "b", b"done", term)
        await world.history.put(Shelf.OPERATIONS, "other", "z", b"begun", term)
        await world.history.put(Shelf.INCIDENTS, "main", "y", b"begun", term)
        assert ids(await world.history.newest(Shelf.OPERATIONS, "main", 10)) == ["c", "a", "b"]
        assert ids(await world.history.newest(Shelf.OPERATIONS, "main", 2)) == ["c", "a"]

    async def test_a_term_that_is_over_writes_and_prunes_no_history(self, world: World) -> None:
        old = await world.elect()
        for note_id in ("a", "b"):
            await world.history.put(Shelf.INCIDENTS, "main", note_id, b"{}", old)
        await world.elect()
        with pytest.raises(LostLeadership):
            await world.history.put(Shelf.INCIDENTS, "main", "a", b"late", old)
        with pytest.raises(LostLeadership):
            await world.history.prune(Shelf.INCIDENTS, "main", old, keep=1)
        assert len(await world.history.newest(Shelf.INCIDENTS, "main", 10)) == 2

    async def test_pruning_keeps_the_newest_and_ends(self, world: World) -> None:
        term = await world.elect()
        for number in range(60):
            await world.history.put(Shelf.INCIDENTS, "main", f"i{number}", b"{}", term)
        rounds = 0
        while gone := await world.history.prune(Shelf.INCIDENTS, "main", term, keep=3):
            assert gone <= 57
            rounds += 1
            assert rounds < 10
        assert ids(await world.history.newest(Shelf.INCIDENTS, "main", 100)) == ["i59", "i58", "i57"]

    async def test_a_note_that_lands_late_overwrites_no_newer_one(self, world: World) -> None:
        term = await world.elect()
        await world.history.put(Shelf.OPERATIONS, "main", "o", b"begun", term)
        world.delay_next_write()
        try:
            await world.history.put(Shelf.OPERATIONS, "main", "o", b"half", term)
        except OutcomeUnknown:
            pass
        await world.history.put(Shelf.OPERATIONS, "main", "o", b"done", term)
        await world.deliver_delayed()
        note = await world.history.get(Shelf.OPERATIONS, "main", "o")
        assert note is not None
        assert note.body == b"done"


def ids(notes: Sequence[Note]) -> list[str]:
    return [note.id for note in notes]
