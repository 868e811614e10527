"""The crowd of the bench of thousands: what it sends is what agents send."""

from __future__ import annotations

from typing import Any

from common.datagram import BeatFrame, member_id, member_key, open_frame
from deploy.scale.chapter import chapter
from deploy.scale.crowd import crowd
from deploy.scale.flock import Flock, sealed_again

SECRET = bytes(range(32))


def test_every_member_has_an_address_and_an_incarnation_of_its_own() -> None:
    members = [member for group in crowd(3_000) for member in group.members]
    assert len({member.address for member in members}) == len(members) == 3_000
    assert len({member.incarnation for member in members}) == len(members)
    assert not [mistake for group in crowd(9) for mistake in group.spec.mistakes()]


def test_a_beat_of_the_flock_opens_under_its_member_s_key_and_counts_on() -> None:
    (group, *_) = crowd(3)
    members = [(m.cluster, m.name, m.incarnation, m.is_first_primary, 7) for m in group.members]
    flock = Flock({"address": "127.0.0.1", "port": 1, "secret": SECRET.hex(), "seed": 1, "members": members})
    keys = {member_id(m.cluster, m.name): member_key(SECRET, m.cluster, m.name, 1) for m in group.members}
    birds = {id(bird): bird for slot in flock.slots for bird in slot}
    assert len(birds) == 3
    for bird in birds.values():
        bird.sequence += 1
        frame = open_frame(sealed_again(bird, 99), lambda member, _generation: keys.get(member))
        assert isinstance(frame, BeatFrame)
        assert (frame.header.sequence, frame.header.sent_us, frame.obeyed.revision) == (2, 99, 7)
    flock.leave("c00001")
    assert not any(flock.slots)
    flock.close()


def figures(members: int, **changed: Any) -> dict[str, Any]:
    return {
        "members": members, "clusters": members // 3, "streams": 315, "load_average": 1.0,
        "others_cpu_percent": 20.0, "seconds": 10.0,
        "ready_s": 30.0, "cpu_percent": 60.0, "rss_mib": 300.0, "beats": {"beats accepted": 200_000.0}, "udp_drops": 0,
        "flock": {"round_trip_ms": {"p50": 1.0, "p99": 9.0}}, "singles_ms": [20.0, 40.0], "lost": 100,
        "replaced_ms": [2_500.0, 4_000.0], "false_alarms": 0, "terms": 1, **changed,
    }  # fmt: skip


def evidence(
    *sizes: dict[str, Any], commit: str = "abc", failed: tuple[dict[str, Any], ...] = ()
) -> dict[str, Any]:
    return {"setting": {"commit": commit}, "sizes": list(sizes), "failed": list(failed)}


def test_the_chapter_shows_the_newest_of_each_size_and_what_was_asked_for_of_ten_thousand() -> None:
    alone = figures(30, singles_ms=[25.0], replaced_ms=[], lost=0)
    text = "\n".join(
        chapter(
            [
                ("old-scale.json", evidence(alone, figures(9_999, cpu_percent=150.0))),
                (
                    "new-scale.json",
                    evidence(figures(9_999, udp_drops=3, replaced_ms=[12_000.0]), commit="def"),
                ),
            ]
        )
    )
    assert (
        "| 9,999 | 3,333 | 315 | 20,000 | 60 | 300 | 3 | 1.0, 9 | 30 | 30, 40 | 100: 12000 | 0 | 1 | 20 | 1.0 | def |"
        in text
    )
    assert "150" not in text
    assert "at most one core: 60 % (met); nothing dropped: 3 (missed)" in text
    assert "+5 ms (medians) (met)" in text
    assert "within 10 s: 12.0 s (missed)" in text
    assert "[new-scale.json](evidence/new-scale.json), [old-scale.json](evidence/old-scale.json)" in text


def test_a_size_that_failed_since_is_said() -> None:
    broke = {"members": 20_000, "why": "not calm within 240 s", "load_average": 2.0}
    text = "\n".join(chapter([("a-scale.json", evidence(figures(1_000), failed=(broke,)))]))
    assert "Not measured since: 20,000 members, abc, load 2.0: not calm within 240 s" in text


def test_without_evidence_there_is_no_chapter() -> None:
    assert chapter([]) == []
