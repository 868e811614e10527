"""The crowd of the bench of thousands: what it sends is what agents send."""

from __future__ import annotations

from common.datagram import BeatFrame, member_id, member_key, open_frame
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
    flock.close()
