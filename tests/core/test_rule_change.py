"""R6 as the leader sees it: when a change begins, ends, turns back; and settling (R5)."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from msgspec.structs import replace

from common.assignment import Version
from common.facts import Peer, PostgresState, Promotion, RuleConfirmation
from common.ids import MemberName
from common.lsn import ZERO, Lsn
from common.rule import SOLO
from common.timebase import before_ms
from orchestrator.core.priors import appended
from orchestrator.core.reasons import Reason
from orchestrator.core.record import Record
from orchestrator.core.rule_change import Waits, begun, finished, never_ends, settled, turned_back
from orchestrator.core.spec import STRICT
from orchestrator.core.stories import CLIENTS_FIRST_MS
from orchestrator.core.view import ClusterView, MemberView, Writes
from tests.core.builders import NOW, POLICY, any_of, heard, member, record, view

_CHANGE = record(rules=(any_of(1, "b"), any_of(1, "b", "c")), target=any_of(1, "b", "c"))


def _primary(*streaming: str, flushed: int = 1000, **facts: Any) -> MemberView:
    peers = tuple(Peer(f"{name}.1@3", "streaming", Lsn(flushed)) for name in streaming)
    return heard("a", postgres=PostgresState.PRIMARY, peers=peers, **facts)


def _begun(of: Record, seen: ClusterView, **spec: Any) -> Any:
    assert seen.spec is not None
    return begun(of, seen, dataclasses.replace(seen.spec, **spec), NOW, POLICY)


def test_a_streaming_member_is_added_by_a_change_that_lists_both_rules() -> None:
    now = record(rules=(any_of(1, "b"),))
    changed, because, _ = _begun(now, view(_primary("b", "c"), of=now))
    assert changed.rules == (any_of(1, "b"), any_of(1, "b", "c"))
    assert changed.target == any_of(1, "b", "c")
    assert because.reason is Reason.RULE_CHANGE_BEGUN


@pytest.mark.parametrize(
    ("stable_for_ms", "begins"), [(CLIENTS_FIRST_MS - 1, False), (CLIENTS_FIRST_MS, True)]
)
def test_clients_come_back_before_a_change_ends_their_walsenders(stable_for_ms: int, begins: bool) -> None:
    now = record(prior=appended(record()), rules=(any_of(1, "b"),))
    primary = replace(_primary("b", "c"), writes=Writes(first_at=NOW, first_epoch=3))
    seen = view(primary, of=now, phase_since=before_ms(NOW, stable_for_ms))
    assert (_begun(now, seen) is not None) == begins


def test_nothing_is_begun_while_the_primary_does_not_answer() -> None:
    now = record(rules=(any_of(1, "b"),))
    stale = heard("a", ms_ago=3_001, postgres=PostgresState.PRIMARY)
    assert _begun(now, view(stale, of=now)) is None


def test_where_beats_are_lost_too_a_voter_is_waited_for_longer_before_the_rule_goes_on_without_it() -> None:
    """Seen on real hosts (docs/detection.md): a fifth of all packets lost, and the rule was narrowed and widened again up to
    17 times a minute; each change ends the streams that are left."""

    def narrowed(gone_ms: int, *missed_ms_ago: int) -> bool:
        return _is_narrowed(gone_ms, missed_ms_ago, heard("c", ms_ago=gone_ms))

    lost_ms = POLICY.voter_lost_ms
    assert not narrowed(lost_ms - 1)
    assert narrowed(lost_ms)
    assert not narrowed(6 * lost_ms - 1, *_LOSSY)
    assert narrowed(6 * lost_ms, *_LOSSY)


_LOSSY = (4_000, 3_000, 2_000, 1_000)


def _is_narrowed(gone_ms: int, missed_ms_ago: tuple[int, ...], c: MemberView) -> bool:
    """`c` has not streamed for so long, `b` does, and the primary's beats were missed then."""
    now = record(rules=(any_of(1, "b", "c"),))
    streaming_at = {"b.1@3": before_ms(NOW, 100), "c.1@3": before_ms(NOW, gone_ms)}
    missed_at = tuple(before_ms(NOW, ms) for ms in missed_ms_ago)
    primary = replace(_primary("b"), streaming_at=streaming_at, missed_at=missed_at)
    return _begun(now, view(primary, heard("b"), c, of=now)) is not None


def test_where_beats_are_lost_too_a_voter_that_is_well_stays_for_longer_while_commits_go_on_without_it() -> (
    None
):
    """Its seal can be had (R2), and to take it out and in again ends the streams that are left: seen on real hosts, where
    commits waited for up to 16 s each time."""
    lost_ms = POLICY.voter_lost_ms
    assert not _is_narrowed(30 * lost_ms - 1, _LOSSY, heard("c"))
    assert _is_narrowed(30 * lost_ms, _LOSSY, heard("c")), "it never streams again"
    assert _is_narrowed(6 * lost_ms, (), heard("c")), "nothing is lost"
    assert _is_narrowed(6 * lost_ms, _LOSSY, heard("c", postgres=PostgresState.STOPPED)), "it does not run"
    assert _is_narrowed(6 * lost_ms, _LOSSY, heard("c", rebuild_needed="damaged")), "it needs another copy"
    deaf = replace(heard("c"), facts_at=before_ms(NOW, 6 * lost_ms))
    assert _is_narrowed(6 * lost_ms, _LOSSY, deaf), "its beats come, and no report"


def test_where_beats_are_lost_too_the_rule_is_narrowed_for_commits_that_wait() -> None:
    now = record(rules=(any_of(2, "b", "c", "d"),), members=(*record().members, member("d")))
    streaming_at = {f"{name}.1@3": before_ms(NOW, 29 * POLICY.voter_lost_ms) for name in "cd"}
    missed_at = tuple(before_ms(NOW, ms) for ms in _LOSSY)
    others = [heard(name) for name in "bcd"]

    def changed(*streaming: str) -> Any:
        primary = replace(_primary(*streaming), streaming_at=streaming_at, missed_at=missed_at)
        return _begun(now, view(primary, *others, of=now), k=2)

    assert changed("b", "c") is None
    assert changed("b")[0].target == any_of(1, "b", "c", "d")
    assert changed() is not None, "nobody is left"


@pytest.mark.covers("T5")
def test_a_stranger_or_another_incarnation_is_never_added() -> None:
    now = record(rules=(SOLO,))
    strangers = tuple(Peer(name, "streaming", Lsn(1)) for name in ("b.2@3", "c.1@2", "psql", "x.1@3"))
    assert _begun(now, view(heard("a", postgres=PostgresState.PRIMARY, peers=strangers), of=now)) is None


def test_no_second_change_is_begun_beside_an_open_one() -> None:
    assert _begun(_CHANGE, view(_primary("b"), of=_CHANGE)) is None


def test_a_strict_cluster_waits_where_another_one_goes_to_solo() -> None:
    now = record(rules=(any_of(1, "b"),))
    seen = view(_primary(), of=now)
    assert isinstance(waits := _begun(now, seen, when_last_voter_lost=STRICT), Waits)
    assert waits.because[0].reason is Reason.STRICT_WAITS
    changed, _, _ = _begun(now, seen)
    assert changed.target == SOLO


@pytest.mark.parametrize(
    ("epoch", "revision", "ends"),
    [
        pytest.param(3, 10, True, id="of_the_version_that_listed_it"),
        pytest.param(3, 9, False, id="of_an_older_change"),
        pytest.param(3, 11, False, id="of_no_version_that_is_known"),
        pytest.param(2, 10, False, id="of_another_epoch"),
    ],
)
def test_a_change_ends_with_a_confirmation_of_this_very_change(epoch: int, revision: int, ends: bool) -> None:
    said = RuleConfirmation(Version(epoch, revision), Lsn(5))
    done = finished(_CHANGE, view(_primary("b", rule_confirmation=said), of=_CHANGE))
    assert (done is not None) == ends
    if done is not None:
        assert done[0].rules == (any_of(1, "b", "c"),)
        assert done[0].prior == ()


def test_a_change_whose_new_voters_went_away_is_turned_back_and_never_dropped() -> None:
    onto_c = record(rules=(any_of(1, "b"), any_of(1, "c")), target=any_of(1, "c"))
    back = turned_back(onto_c, view(_primary("b"), of=onto_c), NOW, POLICY)
    assert back is not None
    assert back[1].reason is Reason.RULE_CHANGE_TURNED_BACK
    assert back[0].target == any_of(1, "b")
    assert back[0].rules == onto_c.rules
    assert turned_back(onto_c, view(_primary("b", "c"), of=onto_c), NOW, POLICY) is None
    assert turned_back(onto_c, view(_primary(), of=onto_c), NOW, POLICY) is None


def test_a_change_between_rules_that_name_too_many_lost_incarnations_never_ends() -> None:
    change = record(rules=(any_of(2, "b", "c"), any_of(1, "b")), target=any_of(1, "b"))
    seen = view(_primary("c"), of=change)
    assert never_ends(change, seen, NOW) is None
    member = change.the(MemberName("b"))
    lost = change.with_member(replace(member, number=member.number + 1))
    because = never_ends(lost, seen, NOW)
    assert because is not None
    assert because.text.endswith("b.1 lost what they had")
    to_solo = replace(lost, rules=(lost.rule, SOLO), target=SOLO)
    assert never_ends(to_solo, seen, NOW) is None


@pytest.mark.parametrize(
    ("flushed", "first", "settles"),
    [
        pytest.param(1000, Lsn(1000), True, id="exactly_the_first_commit"),
        pytest.param(999, Lsn(1000), False, id="one_byte_below"),
        pytest.param(1000, ZERO, False, id="no_first_commit_yet"),
    ],
)
def test_prior_stays_until_k_voters_have_the_first_record(flushed: int, first: Lsn, settles: bool) -> None:
    now = record(prior=appended(record()), rules=(any_of(1, "b", "c"),))
    promotion = Promotion(3, 3, Lsn(900), first)
    done = settled(now, view(_primary("b", flushed=flushed, promotion=promotion), of=now), NOW)
    assert (done is not None) == settles


@pytest.mark.parametrize(
    ("stable_for_ms", "settles"), [(CLIENTS_FIRST_MS - 1, False), (CLIENTS_FIRST_MS, True)]
)
def test_clients_come_back_before_it_is_saved_that_an_epoch_is_settled(
    stable_for_ms: int, settles: bool
) -> None:
    now = record(prior=appended(record()), rules=(any_of(1, "b", "c"),))
    primary = _primary("b", promotion=Promotion(3, 3, Lsn(900), Lsn(1000)))
    seen = view(primary, of=now, phase_since=before_ms(NOW, stable_for_ms))
    assert (settled(now, seen, NOW) is not None) == settles


def test_no_change_is_begun_towards_a_rule_that_nobody_who_streams_could_meet() -> None:
    """b was seen a second ago and is not given up yet, c is: the rule waits, and goes to solo once both are."""
    seen_at = {"b.1@3": before_ms(NOW, 1_000), "c.1@3": before_ms(NOW, 5_000)}
    now = record()
    assert _begun(now, view(replace(_primary(), streaming_at=seen_at), of=now)) is None
    later = {**seen_at, "b.1@3": before_ms(NOW, 2_000)}
    changed, _, _ = _begun(now, view(replace(_primary(), streaming_at=later), of=now))
    assert changed.target == SOLO


@pytest.mark.covers("S57")
@pytest.mark.parametrize("streams", [True, False])
def test_a_voter_that_must_never_take_over_leaves_the_rule_although_it_streams(streams: bool) -> None:
    members = (member("a"), member("b", nofailover=True), member("c"))
    now = record(members=members)
    primary = _primary("b", "c") if streams else _primary("c")
    changed, _, _ = _begun(now, view(primary, of=now))
    assert changed.target == any_of(1, "c")
