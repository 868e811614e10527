"""A model that is wrong in one thing is told apart by the script about it: no script is one that can't fail.

Each model below is what somebody could believe of PostgreSQL; its name says what. The simulator's own was like
those marked "Before." until these scripts were run on both.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from common.facts import PostgresState
from tests.contract.postgres.experiment import Experiment
from tests.contract.postgres.on_model import HeldPostgres, model_servers
from tests.contract.postgres.scripts import EXPERIMENTS
from tests.contract.postgres.test_on_model import OLDEST_MAJOR, SEEDS
from tests.simulator.model_parts import Conf, Entry, Receiver, Walsender, is_prefix
from tests.simulator.model_postgres import Postgres


class TheFlagIsSetAtOnce(HeldPostgres):
    def _reload(self, conf: Conf) -> None:
        Postgres._reload(self, conf)
        self.waits = bool(conf.rule)


class OneRuleIsInForceEverywhere(HeldPostgres):
    def release(self, sender: Walsender) -> None:
        for one in self.senders:
            one.rule = self.loaded_rule
        Postgres.release(self, sender)


class NamesAreCountedOnce(HeldPostgres):
    def release(self, sender: Walsender) -> None:
        every = self.senders
        self.senders = list({one.name: one for one in every}.values())
        Postgres.release(self, sender)
        self.senders = every


class AWaitIsNeverCancelled(HeldPostgres):
    def cancel_wait(self, entry: Entry) -> bool:
        return False


class NobodyOutlivesThePostmaster(HeldPostgres):
    def leave_orphans(self) -> None:
        self.crash()


class AnOrphanThatMustWaitWritesNothing(HeldPostgres):
    """Before."""

    def commit(self, content: int, acknowledged: Callable[[], None]) -> Entry | None:
        if self.state is PostgresState.DYING and self.waits:
            return None
        return Postgres.commit(self, content, acknowledged)


class WhatWaitsIsLostInACrash(HeldPostgres):
    def crash(self, *, power: bool = False) -> None:
        lowest = min((waiter.entry.start for waiter in self.waiters), default=self.end)
        Postgres.crash(self, power=power)
        self.cut(lowest)


class NothingWaitsForAFrozenOne(HeldPostgres):
    def later(self, low_us: int, high_us: int, happen: Callable[[], None]) -> None:
        if not self.host.postgres_process.frozen:
            Postgres.later(self, low_us, high_us, happen)


class ThePromotionForgetsTheFence(HeldPostgres):
    def _takes_writes(self) -> None:
        Postgres._takes_writes(self)
        self.waits = False


class AWalsenderIsNotEnded(HeldPostgres):
    def end_walsender(self, sender: Walsender) -> None:
        pass


class TheTimelineIsCheckedBeforeTheFirstReply(HeldPostgres):
    def _reply(self, receiver: Receiver, flushed: int) -> None:
        if self._fits(receiver.upstream):
            Postgres._reply(self, receiver, flushed)


class AReloadEndsEveryReceiver(HeldPostgres):
    def _stream_withdrawn(self, conf: Conf) -> None:
        self.end_receiver()


class AWithdrawalEndsNoReceiver(HeldPostgres):
    """Before."""

    def _stream_withdrawn(self, conf: Conf) -> None:
        pass


class TheReceiveLsnSurvivesARestart(HeldPostgres):
    """Before."""

    def restarted(self) -> None:
        known = self.flush_known
        Postgres.restarted(self)
        self.flush_known = known


class SlotsAreMadeAsTheyAreNeeded(HeldPostgres):
    def _connect(self) -> None:
        upstream = self.find(self.conf.upstream)
        if upstream is not None:
            upstream.slots.add(self.conf.slot)
        Postgres._connect(self)


class ASlotInUseIsNotKept(HeldPostgres):
    """Before, but for one name."""

    def _connect(self) -> None:
        Postgres._connect(self)
        if self.receiver is not None:
            self.receiver.sender.slot = ""


class ACleanStopDrainsNothing(HeldPostgres):
    def stop(self, *, clean: bool) -> bool:
        if clean:
            self.flush(self.append(0).end)
        self.crash()
        self.clean = clean
        return clean


class HistoryFilesAreNotCounted(HeldPostgres):
    def newest_timeline(self) -> int:
        return self.timeline


class TheTargetIsLookedForAtThePromotion(HeldPostgres):
    """Before."""

    def _choose_timeline(self) -> None:
        newest = self.newest_timeline()
        real = newest > self.timeline and not self.histories[newest].placeholder
        self.target = newest if real else self.timeline
        Postgres._choose_timeline(self)


class AStartLooksAtNoHistory(HeldPostgres):
    def refuses_to_start(self) -> str:
        return ""


class HistoryFilesInBetweenAreNotNeeded(HeldPostgres):
    def _lacks_a_history_file(self, upstream: Postgres) -> bool:
        return False


class AnyNewerTimelineIsATarget(HeldPostgres):
    """Before."""

    def look_for_target(self) -> None:
        newest = self.newest_timeline()
        if newest == self.timeline or self.histories[newest].is_parent_of(self.timeline, self.end):
            self.target = newest


class StandbySignalStaysUntilItTakesWrites(HeldPostgres):
    def _choose_timeline(self) -> None:
        Postgres._choose_timeline(self)
        self.standby_signal = True


class ThePromotionIsInTheControlFileAtOnce(HeldPostgres):
    def _end_recovery(self, new: int, steps: tuple[object, ...]) -> None:
        Postgres._end_recovery(self, new, steps)  # type: ignore[arg-type]
        self.checkpoint_timeline = self.timeline


class BranchesAreComparedByContent(HeldPostgres):
    def _fits(self, upstream: Postgres) -> bool:
        return is_prefix(self.log, upstream.log)


class SettingsEndAPromotion(HeldPostgres):
    def write_settings(self, conf: Conf) -> None:
        Postgres.write_settings(self, conf)
        self.promoting = False


class ProbesWaitForEver(HeldPostgres):
    def _checkpointer(self) -> None:
        Postgres._checkpointer(self)
        self.waits = self.waits or bool(self.run)


class SlotsAreInMemory(HeldPostgres):
    def restarted(self) -> None:
        Postgres.restarted(self)
        self.slots = set()


WRONG: dict[str, tuple[type[HeldPostgres], ...]] = {
    "a_rule_in_the_place_of_none_binds_nobody_until_the_checkpointer_has_it": (TheFlagIsSetAtOnce,),
    "a_reload_half_taken_releases_a_commit_under_neither_rule": (OneRuleIsInForceEverywhere,),
    "one_name_connected_twice_counts_twice": (NamesAreCountedOnce,),
    "a_wait_that_is_cancelled_ends_as_a_success_with_a_warning": (AWaitIsNeverCancelled,),
    "a_busy_backend_outlives_its_postmaster_and_still_acknowledges": (NobodyOutlivesThePostmaster,),
    "an_orphan_that_must_wait_is_never_answered_and_leaves_its_row": (AnOrphanThatMustWaitWritesNothing,),
    "a_commit_that_waited_is_seen_after_a_crash_restart_without_any_quorum": (WhatWaitsIsLostInACrash,),
    "a_reply_sent_before_the_silence_is_counted_after_the_thaw": (NothingWaitsForAFrozenOne,),
    "the_fence_holds_over_a_promotion_until_a_rule_replaces_it": (ThePromotionForgetsTheFence,),
    "a_walsender_that_is_ended_comes_back_as_another_process": (AWalsenderIsNotEnded,),
    "a_diverged_standby_is_counted_for_what_it_has_not": (TheTimelineIsCheckedBeforeTheFirstReply,),
    "a_standby_whose_replay_is_paused_acknowledges_until_its_receiver_is_ended": (AReloadEndsEveryReceiver,),
    "with_replay_running_the_withdrawal_alone_ends_the_receiver": (AWithdrawalEndsNoReceiver,),
    "what_was_flushed_is_not_known_after_a_restart_but_the_end_is": (TheReceiveLsnSurvivesARestart,),
    "a_standby_without_the_slot_of_its_epoch_is_refused": (SlotsAreMadeAsTheyAreNeeded,),
    "slots_survive_a_crash_and_not_a_rewind": (SlotsAreInMemory,),
    "a_probe_commit_waits_as_a_client_s_does": (ProbesWaitForEver,),
    "a_slot_in_use_refuses_a_second_connection": (ASlotInUseIsNotKept,),
    "a_clean_stop_drains_to_its_standby": (ACleanStopDrainsNothing,),
    "a_promotion_takes_the_id_after_the_highest_history_file": (HistoryFilesAreNotCounted,),
    "placeholders_with_nothing_real_above_make_a_start_fail": (AStartLooksAtNoHistory,),
    "a_target_that_was_seen_once_is_the_parent_of_a_promotion": (TheTargetIsLookedForAtThePromotion,),
    "one_history_file_missing_in_between_strands_a_follower": (HistoryFilesInBetweenAreNotNeeded,),
    "a_standby_never_leaves_its_target_for_a_sibling": (AnyNewerTimelineIsATarget,),
    "a_candidate_killed_inside_its_promotion_is_a_primary_to_whoever_starts_it_by_hand": (
        StandbySignalStaysUntilItTakesWrites,
    ),
    "a_rewind_right_after_a_promotion_finds_nothing_to_do_before_a_checkpoint": (
        ThePromotionIsInTheControlFileAtOnce,
    ),
    "two_branches_with_one_id_are_one_to_postgresql": (BranchesAreComparedByContent,),
    "a_promotion_that_was_signalled_survives_a_seal_by_settings": (SettingsEndAPromotion,),
}


async def _is_told_apart(experiment: Experiment, kind: type[HeldPostgres]) -> bool:
    expected = dict(experiment.expected(OLDEST_MAJOR))
    for seed in SEEDS:
        try:
            if await experiment.run(model_servers(seed, experiment.members, kind)) != expected:
                return True
        except AssertionError:  # it did not even get as far
            return True
    return False


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda experiment: experiment.name)
async def test_a_wrong_model_is_told_apart(experiment: Experiment) -> None:
    for kind in WRONG[experiment.name]:
        assert await _is_told_apart(experiment, kind), f"{kind.__name__} is not seen by {experiment.name}"
