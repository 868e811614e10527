"""What the signs of a primary that speaks are taken for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from msgspec.structs import replace

from agents.link.session import FACTS_EVERY_S
from common.assignment import Version
from common.facts import Facts, PostgresState, WriteState
from common.ids import MemberName
from common.profile import PROFILES, Profile
from common.timebase import after_ms, before_ms, elapsed_ms
from orchestrator.core.decide import decide
from orchestrator.core.decision import Listened
from orchestrator.core.diagnose import FAILS_OVER, Diagnosis, diagnose
from orchestrator.core.engine import Engine
from orchestrator.core.events import BeatHeard, FactsHeard
from orchestrator.core.observe import observe
from orchestrator.core.reasons import Reason
from orchestrator.core.record import Phase
from orchestrator.core.view import ClusterView
from tests.core.builders import CLUSTER, NOW, POLICY, heard, incarnation, record, view
from tests.orchestrator.beats import beat

LIMIT = POLICY.stalled_after_ms


def _facts(state: WriteState, age_ms: int | None) -> Facts:
    return Facts(
        CLUSTER, MemberName("a"), incarnation("a"), Version(3, 10), postgres=PostgresState.PRIMARY,
        postmaster_alive=True, write_state=state, write_age_ms=age_ms,
    )  # fmt: skip


def _after(*reports: tuple[int, WriteState, int | None], now_ms: int) -> Diagnosis:
    """Reports at so many ms, then the diagnosis at `now_ms`."""
    seen: ClusterView = view(heard("a", postgres=PostgresState.PRIMARY), heard("b"), heard("c"))
    for at_ms, state, age_ms in reports:
        seen = observe(seen, FactsHeard(after_ms(NOW, at_ms), _facts(state, age_ms)))
    at = after_ms(NOW, now_ms)
    return diagnose(record(), seen, at, POLICY).diagnosis


@pytest.mark.parametrize(
    ("now_ms", "expected"),
    [
        pytest.param(LIMIT - 1, Diagnosis.HEALTHY, id="not_long_enough"),
        pytest.param(LIMIT, Diagnosis.CANT_WRITE, id="the_limit"),
    ],
)
def test_a_stall_that_no_acknowledged_commit_preceded_counts_from_its_first_report(
    now_ms: int, expected: Diagnosis
) -> None:
    reports = [(at_ms, WriteState.STALLED, None) for at_ms in range(0, now_ms + 1, 100)]
    assert _after(*reports, (now_ms, WriteState.STALLED, None), now_ms=now_ms) is expected


@pytest.mark.covers("T39", "T49")
def test_a_primary_that_can_not_write_is_replaced_although_its_kernel_answers() -> None:
    stalled = heard("a", postgres=PostgresState.PRIMARY, write_state=WriteState.STALLED, write_age_ms=LIMIT)
    since = replace(stalled, stalled_since=NOW)
    decided = decide(view(since, heard("b"), heard("c")), NOW)
    assert decided.reasons[0].reason is Reason.PRIMARY_CANT_WRITE
    assert decided.record is not None
    assert decided.record.phase is Phase.SEALING


def test_a_stall_counts_from_the_newest_acknowledged_commit_where_there_was_one() -> None:
    assert _after((0, WriteState.STALLED, LIMIT), now_ms=0) is Diagnosis.CANT_WRITE
    assert _after((0, WriteState.STALLED, LIMIT - 1), now_ms=0) is Diagnosis.HEALTHY


def test_a_commit_that_was_flushed_meanwhile_ends_the_stall() -> None:
    reports = [
        (0, WriteState.STALLED, None),
        (LIMIT - 100, WriteState.WAITING, None),
        (LIMIT, WriteState.STALLED, None),
    ]
    assert _after(*reports, now_ms=LIMIT) is Diagnosis.HEALTHY


_LOST_MS = POLICY.voter_lost_ms
_REPORTS_EVERY_MS = int(FACTS_EVERY_S * 1_000)


def _waiting(*, reported_ms_ago: int | None, waits_ms: int = _LOST_MS) -> ClusterView:
    """Its beats come; its last whole report, which takes the way of our orders, is so old."""
    a = heard("a", postgres=PostgresState.PRIMARY, write_state=WriteState.WAITING, write_age_ms=waits_ms)
    at = None if reported_ms_ago is None else before_ms(NOW, reported_ms_ago)
    seen = view(replace(a, facts_at=at), heard("b"), heard("c"))
    assert seen.leading is not None
    return replace(seen, leading=replace(seen.leading, since=before_ms(NOW, 60_000)))


@pytest.mark.parametrize(
    "reported_ms_ago", [pytest.param(_LOST_MS, id="old"), pytest.param(None, id="never")]
)
def test_a_primary_whose_commits_wait_and_whom_no_order_reaches_is_replaced(
    reported_ms_ago: int | None,
) -> None:
    """TCP around it is filtered, UDP is not: the rule can't change, because it would have to confirm that."""
    decided = decide(_waiting(reported_ms_ago=reported_ms_ago), NOW)
    assert decided.reasons[0].reason is Reason.PRIMARY_OUT_OF_TOUCH
    assert decided.record is not None
    assert decided.record.phase is Phase.SEALING


@pytest.mark.parametrize(
    ("said_ms_ago", "expected"),
    [(_LOST_MS - 1, Diagnosis.QUORUM_AT_RISK), (_LOST_MS, Diagnosis.OUT_OF_TOUCH)],
)
def test_an_agent_that_was_started_again_meanwhile_does_not_know_for_how_long_commits_wait(
    said_ms_ago: int, expected: Diagnosis
) -> None:
    """A soak on real hosts: TCP of the primary filtered, and then its guard killed, which starts another agent. Nobody
    could write until TCP was back."""
    seen = _waiting(reported_ms_ago=None)
    a = seen.member(MemberName("a"))
    assert a.facts is not None
    started_again = replace(
        a, facts=replace(a.facts, write_age_ms=None), waiting_since=before_ms(NOW, said_ms_ago)
    )
    assert diagnose(record(), seen.with_member(started_again), NOW, POLICY).diagnosis is expected


def test_since_when_commits_wait_is_kept_from_beat_to_beat() -> None:
    waiting = beat("a", write_state=WriteState.WAITING, write_age_ms=None)
    seen = observe(_waiting(reported_ms_ago=None), BeatHeard(NOW, replace(waiting, sequence=100)))
    later = observe(seen, BeatHeard(after_ms(NOW, 500), replace(waiting, sequence=101)))
    assert later.member(MemberName("a")).waiting_since == NOW
    through = replace(waiting, sequence=102, write_state=WriteState.ACKNOWLEDGED)
    assert (
        observe(later, BeatHeard(after_ms(NOW, 600), through)).member(MemberName("a")).waiting_since is None
    )


@pytest.mark.parametrize(
    "seen",
    [
        pytest.param(_waiting(reported_ms_ago=_LOST_MS - 1), id="orders_reach_it"),
        pytest.param(_waiting(reported_ms_ago=_LOST_MS, waits_ms=_LOST_MS - 1), id="commits_went_through"),
    ],
)
def test_commits_that_wait_are_the_voters_business_as_long_as_orders_reach_the_primary(
    seen: ClusterView,
) -> None:
    assert diagnose(record(), seen, NOW, POLICY).diagnosis is Diagnosis.QUORUM_AT_RISK


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_a_report_that_is_not_due_yet_says_nothing_of_a_primary_whose_commits_wait(profile: Profile) -> None:
    """Seen on real hosts with `fast`, a fifth of all packets lost: 1,000 ms without a report is how often they come."""
    seen = _waiting(reported_ms_ago=2 * _REPORTS_EVERY_MS - 1, waits_ms=60_000)
    assert diagnose(record(), seen, NOW, profile).diagnosis is Diagnosis.QUORUM_AT_RISK
    missing_ms = max(2 * _REPORTS_EVERY_MS, profile.voter_lost_ms)
    seen = _waiting(reported_ms_ago=missing_ms, waits_ms=60_000)
    assert diagnose(record(), seen, NOW, profile).diagnosis is Diagnosis.OUT_OF_TOUCH


def test_nobody_seals_because_of_a_deaf_primary_who_alone_could_be_sealed() -> None:
    """It speaks, but it would not hear the order: only the others count."""
    seen = _waiting(reported_ms_ago=_LOST_MS)
    alone = replace(seen, members={MemberName("a"): seen.members[MemberName("a")]})
    decided = decide(alone, NOW)
    assert decided.record is None


def test_where_beats_are_lost_too_late_reports_are_waited_for() -> None:
    """Seen on real hosts (docs/detection.md): with a fifth of all packets lost TCP stood still for seconds, and a primary
    that was only slow was replaced."""

    def found(reported_ms_ago: int, *missed_ms_ago: int) -> Diagnosis:
        seen = _waiting(reported_ms_ago=reported_ms_ago, waits_ms=60_000)
        missed_at = tuple(before_ms(NOW, ms) for ms in missed_ms_ago)
        lossy = replace(seen.members[MemberName("a")], missed_at=missed_at)
        members = {**seen.members, MemberName("a"): lossy}
        return diagnose(record(), replace(seen, members=members), NOW, POLICY).diagnosis

    assert found(6 * _LOST_MS - 1, 14_999, 300, 250, 200) is Diagnosis.QUORUM_AT_RISK
    assert found(6 * _LOST_MS, 14_999, 300, 250, 200) is Diagnosis.OUT_OF_TOUCH
    assert found(_LOST_MS, 15_000, 300, 250, 200) is Diagnosis.OUT_OF_TOUCH, "three in fifteen seconds"
    assert found(_LOST_MS, 300, 250, 200) is Diagnosis.OUT_OF_TOUCH, "three alone"


def _missed_ms(*beats: tuple[int, int, int]) -> list[int]:
    """Beats at so many ms, with these numbers, each standing for so many; when one was seen to be missing."""
    seen: ClusterView = view(heard("b"), heard("c"))
    for at_ms, sequence, merged in beats:
        seen = observe(seen, BeatHeard(after_ms(NOW, at_ms), beat("a", sequence=sequence), merged))
    return [elapsed_ms(since=NOW, now=at) for at in seen.member(MemberName("a")).missed_at]


def test_a_beat_that_is_missing_is_seen_by_the_number_of_the_next_and_by_the_time() -> None:
    in_time = [(at_ms, 1 + at_ms // 100, 1) for at_ms in range(0, 1_000, 100)]
    assert _missed_ms(*in_time) == []
    assert _missed_ms(*in_time, (1_100, 12, 1), (1_500, 16, 3)) == [1_100, 1_500]
    assert _missed_ms(*in_time, (1_100, 12, 1), (1_150, 9, 1)) == [1_100], "overtaken"


def test_beats_that_took_the_stream_or_are_late_are_not_missing() -> None:
    """Nothing reaches the primary (chaos): no answer comes by UDP, so it beats over its stream too, by the same row of
    numbers; the leader took that for loss, and waited for its reports until the agent had ended PostgreSQL."""
    every_other = [(at_ms, 1 + at_ms // 50, 1) for at_ms in range(0, 2_000, 100)]
    assert _missed_ms(*every_other) == []
    assert (
        _missed_ms(
            *[(at_ms + 40 * (at_ms // 100 % 2), 1 + at_ms // 100, 1) for at_ms in range(0, 2_000, 100)]
        )
        == []
    )


def _full(*, free_mib: int, elsewhere_mib: int | None) -> ClusterView:
    return view(
        heard("a", postgres=PostgresState.PRIMARY, free_mib=free_mib),
        heard("b", free_mib=elsewhere_mib),
        heard("c"),
    )


def test_a_primary_whose_disk_is_full_is_replaced_by_one_that_has_room() -> None:
    """Inserts fail, though our own probe, which writes WAL only, still finds room in a segment."""
    decided = decide(_full(free_mib=3, elsewhere_mib=4_000), NOW)
    assert decided.reasons[0].reason is Reason.PRIMARY_DISK_FULL
    assert decided.record is not None
    assert decided.record.phase is Phase.SEALING


@pytest.mark.parametrize(
    ("free_mib", "error", "reason", "said"),
    [
        pytest.param(0, "", Reason.PRIMARY_DISK_FULL, "its disk is full: 0 MiB are free", id="no_room"),
        pytest.param(16, "", Reason.PRIMARY_CRASHED, "the postmaster is gone", id="room_for_a_segment"),
        pytest.param(None, "", Reason.PRIMARY_CRASHED, "the postmaster is gone", id="nobody_knows"),
        pytest.param(0, "not started", Reason.PRIMARY_CRASHED, "not started", id="its_agent_knows_more"),
    ],
)
def test_a_postmaster_that_is_gone_and_left_no_room_on_its_disk_went_down_for_want_of_it(
    free_mib: int | None, error: str, reason: Reason, said: str
) -> None:
    """Seen on real hosts: PANIC, no space left for WAL, before a measurement had found the disk full; a crash, it was said,
    and nobody was told why. It is replaced whether another member is known to have room or not."""
    down = heard("a", postgres=PostgresState.STOPPED, free_mib=free_mib, error=error)
    decided = decide(view(down, heard("b"), heard("c")), NOW)
    assert decided.reasons[0].reason is reason
    assert decided.reasons[0].text.endswith(said)
    assert decided.record is not None
    assert decided.record.phase is Phase.SEALING


@pytest.mark.parametrize(
    "seen",
    [
        pytest.param(_full(free_mib=16, elsewhere_mib=4_000), id="a_segment_of_wal_still_fits"),
        pytest.param(_full(free_mib=3, elsewhere_mib=100), id="the_others_are_full_as_well"),
        pytest.param(_full(free_mib=3, elsewhere_mib=None), id="nothing_is_known_of_the_others"),
    ],
)
def test_a_full_disk_is_no_reason_where_a_failover_would_not_help(seen: ClusterView) -> None:
    assert diagnose(record(), seen, NOW, POLICY).diagnosis is Diagnosis.HEALTHY


@pytest.mark.parametrize(
    ("state", "age_ms", "listens"),
    [
        pytest.param(WriteState.ACKNOWLEDGED, 100, True, id="it_writes"),
        pytest.param(WriteState.NONE, None, True, id="it_did_not_say"),
        pytest.param(WriteState.STALLED, 100, False, id="it_stalls"),
        pytest.param(WriteState.WAITING, 100, False, id="it_waits_for_voters"),
    ],
)
def test_nothing_but_silence_is_due_only_while_a_primary_writes(
    state: WriteState, age_ms: int | None, listens: bool
) -> None:
    """A stall grows with time, by the same words: its look may not be put off because everybody speaks."""
    primary = heard("a", postgres=PostgresState.PRIMARY)
    seen = observe(view(primary, heard("b"), heard("c")), FactsHeard(NOW, _facts(state, age_ms)))
    engine = Engine(CLUSTER)
    engine.view = seen
    decision = engine.turn(NOW)
    assert decision.again_at_us is not None
    assert (decision.listened == Listened(MemberName("a"), NOW)) is listens


def test_the_protocol_names_every_diagnosis_and_no_other() -> None:
    text = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()
    line = next(line for line in text.splitlines() if line.startswith("- The combination has a name"))
    leaving, staying = line.split("these leave the epoch.")
    named = re.compile(r"`(\w+)`")
    assert set(named.findall(leaving)) == {str(one) for one in FAILS_OVER}
    assert set(named.findall(staying)) == {str(one) for one in set(Diagnosis) - FAILS_OVER}
