"""Suspicion before a verdict: who is asked about a silent primary, and whose word counts for what."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from agents.postgres import settings
from common.facts import PostgresState, WriteState
from common.ids import MemberName
from common.profile import PROFILES, Profile
from common.timebase import before_ms
from orchestrator.core.decide import decide
from orchestrator.core.diagnose import _RECEIVED_WITHIN_MS, Diagnosis, Finding, diagnose
from orchestrator.core.effects import AskObservers, ProbeSql
from orchestrator.core.events import BeatRelayed, ProbeAnswer, SqlProbed
from orchestrator.core.observe import observe
from orchestrator.core.reasons import Reason
from orchestrator.core.view import ClusterView, MemberView, Relayed, Suspicion
from tests.core.builders import NOW, POLICY, any_of, heard, incarnation, record, view
from tests.orchestrator.beats import beat

_SILENT_MS = 1_100
_A = MemberName("a")


def _silent_primary(ms: int = _SILENT_MS) -> MemberView:
    return heard("a", ms_ago=ms, postgres=PostgresState.PRIMARY)


def _suspected(
    *others: MemberView, asked_ms: int = 300, elsewhere_ms: int | None = None, sql: ProbeAnswer | None = None
) -> ClusterView:
    """The primary is silent and suspected; this is what the witnesses have said so far."""
    suspicion = Suspicion(
        _A,
        before_ms(NOW, asked_ms),
        before_ms(NOW, asked_ms),
        frozenset(),
        heard_elsewhere_at=None if elsewhere_ms is None else before_ms(NOW, elsewhere_ms),
        sql=sql,
    )
    return replace(view(_silent_primary(), *(others or (heard("b"), heard("c")))), suspicion=suspicion)


def _finding(seen: ClusterView) -> tuple[Diagnosis, Reason]:
    found: Finding = diagnose(record(), seen, NOW, POLICY)
    return found.diagnosis, found.because[0].reason


def test_whoever_is_silent_is_suspected_first_and_the_witnesses_are_asked() -> None:
    decided = decide(view(_silent_primary(), heard("b"), heard("c")), NOW)
    assert decided.reasons[0].reason is Reason.PRIMARY_SUSPECTED
    assert decided.record is None
    asked = [type(effect) for effect in decided.effects]
    assert AskObservers in asked
    assert ProbeSql in asked


def _relaying(by_ms: int = 50, **changes: Any) -> ClusterView:
    """The primary is silent and suspected; a peer passes its beats on."""
    seen = _suspected(sql=ProbeAnswer.SILENT)
    relayed = Relayed(
        before_ms(NOW, by_ms), MemberName("b"), 1, 9, incarnation("a"), record().epoch, acknowledges=True
    )
    return seen.with_member(replace(seen.member(_A), relayed=replace(relayed, **changes)))


@pytest.mark.covers("T70")
def test_a_primary_whose_beats_a_peer_passes_on_is_a_cut_path_and_no_failover() -> None:
    found = diagnose(record(), _relaying(), NOW, POLICY)
    assert found.diagnosis is Diagnosis.CONTROL_PATH_CUT
    assert found.because[0].text == (
        "silent for 1100 ms, the threshold is 600 ms; b passes its beats on, the newest 50 ms ago: "
        "it acknowledges commits"
    )


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"acknowledges": False}, id="its_commits_wait"),
        pytest.param({"epoch": 0}, id="of_another_epoch"),
        pytest.param({"incarnation": incarnation("z")}, id="of_another_incarnation"),
        pytest.param({"at": before_ms(NOW, POLICY.suspect_floor_ms + 1)}, id="too_long_ago"),
        pytest.param({"at": before_ms(NOW, _SILENT_MS - 150)}, id="not_clearly_later_than_we_heard_it"),
    ],
)
def test_what_a_peer_passed_on_proves_no_life_where_it_does_not_say_so(changes: dict[str, Any]) -> None:
    assert diagnose(record(), _relaying(**changes), NOW, POLICY).diagnosis is Diagnosis.HOST_LOST


@pytest.mark.parametrize(
    ("changes", "acknowledges"),
    [
        pytest.param({}, True, id="a_primary_that_acknowledges"),
        pytest.param({"write_state": WriteState.WAITING}, False, id="its_commits_wait"),
        pytest.param({"write_state": WriteState.STALLED}, False, id="its_disk_hangs"),
        pytest.param({"postgres": PostgresState.STANDBY}, False, id="no_primary"),
        pytest.param({"postmaster_alive": False}, False, id="its_postmaster_is_gone"),
    ],
)
def test_a_relayed_beat_says_whether_commits_are_acknowledged(
    changes: dict[str, Any], acknowledges: bool
) -> None:
    seen = view(_silent_primary(), heard("b"), heard("c"))
    relayed = observe(seen, BeatRelayed(NOW, beat("a", sequence=99, **changes), MemberName("b")))
    found = relayed.member(_A).relayed
    assert found is not None
    assert found.acknowledges is acknowledges


def test_a_relay_that_does_not_count_takes_no_word_from_the_others() -> None:
    """Its commits wait; but a standby received from it, or another control node heard it."""
    waiting = _relaying(acknowledges=False)
    receiving = heard("b", receiver_alive=True, received_age_ms=0)
    assert diagnose(record(), waiting.with_member(receiving), NOW, POLICY).diagnosis is Diagnosis.AGENT_LOST
    assert waiting.suspicion is not None
    elsewhere = replace(waiting.suspicion, heard_elsewhere_at=before_ms(NOW, 100))
    found = diagnose(record(), replace(waiting, suspicion=elsewhere), NOW, POLICY)
    assert found.diagnosis is Diagnosis.CONTROL_PATH_CUT


def test_who_is_only_relayed_is_not_heard() -> None:
    """No order reaches it, so it must not count as one that answers (R1)."""
    seen = view(_silent_primary(), heard("b"), heard("c"))
    relayed = observe(seen, BeatRelayed(NOW, beat("a", sequence=99), MemberName("b")))
    assert relayed.member(_A).heard_at == seen.member(_A).heard_at
    assert relayed.member(_A).relayed is not None
    assert observe(relayed, BeatRelayed(NOW, beat("a", sequence=98), MemberName("c"))) == relayed


@pytest.mark.covers("S22", "T70")
def test_what_another_control_node_hears_is_a_cut_path_and_no_failover() -> None:
    seen = _suspected(elsewhere_ms=150, sql=ProbeAnswer.SILENT)
    assert _finding(seen) == (Diagnosis.CONTROL_PATH_CUT, Reason.CONTROL_PATH_CUT)
    assert decide(seen, NOW).record is None


def test_what_another_control_node_heard_before_we_did_proves_nothing() -> None:
    seen = _suspected(elsewhere_ms=_SILENT_MS + 1, sql=ProbeAnswer.SILENT)
    assert _finding(seen)[0] is Diagnosis.HOST_LOST


@pytest.mark.parametrize(
    ("elsewhere_ms", "expected"),
    [
        pytest.param(599, Diagnosis.HOST_LOST, id="the_same_last_beat"),
        pytest.param(450, Diagnosis.CONTROL_PATH_CUT, id="a_later_one"),
    ],
)
def test_the_last_beat_that_came_a_moment_later_elsewhere_is_no_cut_path(
    elsewhere_ms: int, expected: Diagnosis
) -> None:
    """Seen on real hosts: silent for 608 ms, and another control node heard it 599 ms ago."""
    seen = _suspected(elsewhere_ms=elsewhere_ms, sql=ProbeAnswer.SILENT)
    members = {**seen.members, _A: _silent_primary(608)}
    assert _finding(replace(seen, members=members))[0] is expected


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
@pytest.mark.parametrize(
    ("lives", "otherwise"),
    [
        pytest.param(True, Diagnosis.AGENT_LOST, id="one_that_lives"),
        pytest.param(False, Diagnosis.HOST_LOST, id="one_that_nothing_else_speaks_for"),
    ],
)
def test_between_two_answers_of_the_other_control_nodes_nobodys_agent_is_lost(
    profile: Profile, lives: bool, otherwise: Diagnosis
) -> None:
    """Seen on real hosts: they were asked every 500 ms, what they had heard counted for 600 ms, and with a beat of 190 ms
    ago in the last answer the primary's agent was called lost for 13 ms."""
    counts_for_ms = profile.suspect_floor_ms + (500 + profile.confirm_within_ms if lives else 0)
    for elsewhere_ms, expected in (
        (counts_for_ms, Diagnosis.CONTROL_PATH_CUT),
        (counts_for_ms + 1, otherwise),
    ):
        seen = _suspected(
            asked_ms=500, elsewhere_ms=elsewhere_ms, sql=ProbeAnswer.PRIMARY if lives else ProbeAnswer.SILENT
        )
        silent = seen.with_member(_silent_primary(20_000))
        assert diagnose(record(), silent, NOW, profile).diagnosis is expected


@pytest.mark.covers("S9")
def test_a_postgresql_that_answers_our_own_query_is_left_alone() -> None:
    assert _finding(_suspected(sql=ProbeAnswer.PRIMARY)) == (Diagnosis.AGENT_LOST, Reason.AGENT_LOST)


@pytest.mark.covers("S77")
def test_a_standby_that_received_clearly_later_than_we_heard_disagrees() -> None:
    hears = heard("b", receiver_alive=True, received_age_ms=200)
    assert _finding(_suspected(hears, heard("c")))[1] is Reason.WITNESS_DISAGREES


@pytest.mark.parametrize(
    ("asked_ms", "awaited", "expected"),
    [
        pytest.param(5, "control2", Diagnosis.SUSPECTED, id="it_may_be_our_path_alone"),
        pytest.param(5, "", Diagnosis.AGENT_LOST, id="nobody_else_hears_it"),
        pytest.param(POLICY.confirm_within_ms, "control2", Diagnosis.AGENT_LOST, id="they_had_their_time"),
    ],
)
def test_an_agent_is_not_called_lost_before_the_other_control_nodes_were_heard(
    asked_ms: int, awaited: str, expected: Diagnosis
) -> None:
    hears = heard("b", receiver_alive=True, received_age_ms=200)
    for seen in (
        _suspected(hears, heard("c"), asked_ms=asked_ms),
        _suspected(asked_ms=asked_ms, sql=ProbeAnswer.PRIMARY),
    ):
        assert seen.suspicion is not None
        awaiting = frozenset({awaited} - {""})
        asked = replace(seen, suspicion=replace(seen.suspicion, awaiting=awaiting))
        assert _finding(asked)[0] is expected


@pytest.mark.covers("T39")
def test_a_receiver_that_is_only_alive_is_no_witness() -> None:
    """A walsender of a dead disk goes on sending keepalives, and a dead host's receiver does not notice."""
    quiet = heard("b", receiver_alive=True, received_age_ms=_SILENT_MS)
    assert _finding(_suspected(quiet, heard("c")))[0] is Diagnosis.HOST_LOST


@pytest.mark.parametrize(
    ("heard_ms", "received_ms", "expected"),
    [
        pytest.param(1_799, 0, Diagnosis.AGENT_LOST, id="it_is_late_itself"),
        pytest.param(1_800, 0, Diagnosis.HOST_LOST, id="it_is_silent_itself"),
        pytest.param(0, 2_999, Diagnosis.AGENT_LOST, id="its_stream_may_still_live"),
        pytest.param(0, 3_000, Diagnosis.HOST_LOST, id="its_postgresql_hangs"),
    ],
)
def test_a_standby_that_heard_the_primary_long_ago_is_no_witness(
    heard_ms: int, received_ms: int, expected: Diagnosis
) -> None:
    """Seed 1100019363: the leader's path was cut, then the primary was lost, and a standby with it whose last word had
    been that it receives: for as long as that one was away nobody took over."""
    last_word = heard("b", ms_ago=heard_ms, receiver_alive=True, received_age_ms=received_ms)
    seen = _suspected(last_word, heard("c"), sql=ProbeAnswer.SILENT)
    assert _finding(seen.with_member(_silent_primary(10_000)))[0] is expected


def test_a_receiver_counts_for_longer_than_postgresql_bears_a_stream_on_which_nothing_comes() -> None:
    """The whole second more is for its agent to notice that it ended."""
    borne_s = int(settings._ALWAYS["wal_receiver_timeout"].removesuffix("s"))
    assert (borne_s + 1) * 1_000 == _RECEIVED_WITHIN_MS


def test_a_host_that_is_lost_behind_a_cut_path_is_replaced_and_no_more_is_said_than_is_so() -> None:
    last_word = heard("b", ms_ago=4_000, receiver_alive=True, received_age_ms=200)
    seen = _suspected(last_word, heard("c"), sql=ProbeAnswer.SILENT).with_member(_silent_primary(10_000))
    two_of_two = replace(record(), rules=(any_of(2, "b", "c"),))
    decided = decide(replace(seen, record=two_of_two), NOW)
    assert decided.reasons[0].reason is Reason.PRIMARY_HOST_LOST
    assert decided.reasons[0].text.endswith("no other control node and no standby hears it any more")
    assert decided.record is not None
    assert decided.record.epoch == 4


def test_with_everybodys_answer_the_verdict_comes_at_once_and_without_them_in_time() -> None:
    waiting = _suspected(asked_ms=POLICY.confirm_within_ms - 1)
    assert _finding(waiting)[0] is Diagnosis.SUSPECTED
    assert _finding(_suspected(asked_ms=POLICY.confirm_within_ms))[0] is Diagnosis.HOST_LOST
    assert _finding(_suspected(asked_ms=5, sql=ProbeAnswer.SILENT))[0] is Diagnosis.HOST_LOST


@pytest.mark.covers("S23")
def test_confirmed_the_epoch_is_left() -> None:
    decided = decide(_suspected(sql=ProbeAnswer.REFUSED), NOW)
    assert decided.reasons[0].reason is Reason.PRIMARY_HOST_LOST
    assert decided.record is not None
    assert decided.record.epoch == 4


@pytest.mark.covers("S26", "S31", "T43")
@pytest.mark.parametrize("answer", [ProbeAnswer.SILENT, ProbeAnswer.REFUSED, ProbeAnswer.STANDBY])
def test_a_failed_query_of_ours_says_nothing_against_a_primary_whose_agent_speaks(
    answer: ProbeAnswer,
) -> None:
    speaking = replace(_suspected(sql=None), members={})
    for member in (heard("a", postgres=PostgresState.PRIMARY), heard("b"), heard("c")):
        speaking = speaking.with_member(member)
    seen = observe(speaking, SqlProbed(NOW, _A, answer))
    assert _finding(seen) == (Diagnosis.HEALTHY, Reason.PRIMARY_HEALTHY)


@pytest.mark.covers("S31", "S5")
def test_an_agent_that_says_its_postmaster_is_gone_is_believed_at_once() -> None:
    decided = decide(view(heard("a", postgres=PostgresState.STOPPED), heard("b"), heard("c")), NOW)
    assert decided.reasons[0].reason is Reason.PRIMARY_CRASHED
    assert decided.record is not None


@pytest.mark.covers("T42")
def test_a_primary_that_was_not_seen_running_yet_is_given_time_to_start() -> None:
    starting = replace(heard("a", postgres=PostgresState.STOPPED), seen_primary_epoch=2)
    early = view(starting, heard("b"), heard("c"), phase_since=before_ms(NOW, 9_999))
    late = view(starting, heard("b"), heard("c"), phase_since=before_ms(NOW, 10_000))
    assert _finding(early) == (Diagnosis.STARTING, Reason.WARMING_UP)
    assert _finding(late)[0] is Diagnosis.CRASHED


def test_a_primary_that_its_agent_could_not_start_is_not_waited_for() -> None:
    """Seed 940000629: a leader that never saw it run waited ten seconds for one whose disk was damaged."""
    damaged = replace(
        heard("a", postgres=PostgresState.STOPPED, error="not started: its WAL ends at 0/5000000"),
        seen_primary_epoch=2,
    )
    decided = decide(view(damaged, heard("b"), heard("c"), phase_since=before_ms(NOW, 100)), NOW)
    assert decided.reasons[0].reason is Reason.PRIMARY_CRASHED
    assert "its WAL ends at 0/5000000" in decided.reasons[0].text
    assert decided.record is not None


def test_a_primary_whose_agent_speaks_as_another_incarnation_has_forgotten_everything() -> None:
    seen = view(
        heard("a", postgres=PostgresState.PRIMARY, incarnation=incarnation("z")), heard("b"), heard("c")
    )
    assert _finding(seen) == (Diagnosis.REBUILT, Reason.PRIMARY_REBUILT)
    decided = decide(seen, NOW).record
    assert decided is not None
    assert (decided.prior[-1].primary, decided.prior[-1].number) == ("a", 1)


def test_when_nobody_at_all_is_heard_the_observer_doubts_itself() -> None:
    seen = view(*(heard(name, ms_ago=5_000) for name in "abc"))
    assert _finding(seen) == (Diagnosis.OBSERVER_ISOLATED, Reason.OBSERVER_DOUBTS_ITSELF)


@pytest.mark.covers("T68")
def test_whoever_was_never_heard_is_waited_for_as_long_as_first_words_may_take() -> None:
    cold = view(heard("b"), heard("c"), listening_since=before_ms(NOW, 2 * POLICY.suspect_ceiling_ms - 1))
    assert _finding(cold) == (Diagnosis.WARMING_UP, Reason.WARMING_UP)
    warm = view(heard("b"), heard("c"), listening_since=before_ms(NOW, 2 * POLICY.suspect_ceiling_ms))
    assert _finding(warm)[0] is Diagnosis.SUSPECTED
