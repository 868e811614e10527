"""What only a real name server can do to us: keys, policies, drift, crashes, silence, forged replies."""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Callable
from dataclasses import replace

import dns.asyncquery
import dns.message
import dns.name
import dns.rcode
import dns.update
import pytest

from common.errors import NotDelivered, OutcomeUnknown, Refused
from deploy.lab import bind
from orchestrator.core.names import NameVersion, Publication, Published, disagreements
from orchestrator.egress.dns_key import ServerAddress, TsigKey
from orchestrator.egress.dns_update import NameServerSettings, Rfc2136Names
from tests.adapters.dns.relay import between
from tests.adapters.dns.worlds import (
    LOOPBACK,
    ZONE,
    BindWorld,
    a_cluster,
    free_port,
    named_running,
    texts,
    wanted,
)

pytestmark = pytest.mark.real

A_KEY = TsigKey(name="primacy", algorithm="hmac-sha256", secret=b"k" * 32)


async def send_by_hand(world: BindWorld, update: dns.update.UpdateMessage) -> dns.rcode.Rcode:
    update.use_tsig(world.key.for_dnspython())
    reply = await dns.asyncquery.udp(update, world.server.host, timeout=2, port=world.server.port)
    return reply.rcode()


def by_hand() -> dns.update.UpdateMessage:
    return dns.update.UpdateMessage(dns.name.from_text(ZONE))


async def test_a_wrong_secret_is_told_as_such_and_changes_nothing(bind_world: BindWorld) -> None:
    cluster = a_cluster()
    wrong = Rfc2136Names(bind_world.settings(key=A_KEY))
    with pytest.raises(Refused, match="BadSignature"):
        await wrong.publish(wanted(cluster, 1, 1))
    assert await texts(bind_world.server, f"primary.{cluster}.{ZONE}", "A") == []


async def test_a_key_that_the_server_does_not_know_is_told_as_such(bind_world: BindWorld) -> None:
    unknown = Rfc2136Names(bind_world.settings(key=replace(A_KEY, name="stranger")))
    with pytest.raises(Refused, match="BadKey"):
        await unknown.publish(wanted(a_cluster(), 1, 1))


async def test_a_cluster_outside_the_policy_is_not_authorised() -> None:
    with named_running(clusters=("allowed",)) as named:
        world = BindWorld(named)
        assert (await world.publisher().publish(wanted("allowed", 1, 1))).outcome is Publication.PUBLISHED
        with pytest.raises(Refused, match=r"NotAuthorised.*REFUSED"):
            await world.publisher().publish(wanted("other", 1, 1))
        assert await texts(world.server, f"primary.other.{ZONE}", "A") == []


async def test_the_policy_allows_no_other_type_and_not_the_top_of_the_zone(
    bind_world: BindWorld,
) -> None:
    mail, top = by_hand(), by_hand()
    mail.add(dns.name.from_text(f"primary.main.{ZONE}"), 1, "MX", f"10 mail.{ZONE}.")
    top.add(dns.name.from_text(f"{ZONE}."), 1, "A", "10.0.0.1")
    assert await send_by_hand(bind_world, mail) == dns.rcode.REFUSED
    assert await send_by_hand(bind_world, top) == dns.rcode.REFUSED


async def test_a_zone_that_the_server_does_not_serve_is_refused(bind_world: BindWorld) -> None:
    elsewhere = Rfc2136Names(replace(bind_world.settings(), zone="elsewhere.test"))
    with pytest.raises(Refused):
        await elsewhere.publish(wanted(a_cluster(), 1, 1, zone="elsewhere.test"))


def delete_both(update: dns.update.UpdateMessage, primary: dns.name.Name, replicas: dns.name.Name) -> None:
    update.delete(primary, "A")
    update.delete(primary, "TXT")
    update.delete(replicas, "A")
    update.delete(replicas, "TXT")


def change_the_address(update: dns.update.UpdateMessage, primary: dns.name.Name, _: dns.name.Name) -> None:
    update.replace(primary, 1, "A", "10.66.66.66")


def delete_the_replicas_text(
    update: dns.update.UpdateMessage, _: dns.name.Name, replicas: dns.name.Name
) -> None:
    update.delete(replicas, "TXT")


def put_back_an_old_state(update: dns.update.UpdateMessage, primary: dns.name.Name, _: dns.name.Name) -> None:
    update.replace(primary, 1, "A", "10.0.0.99")
    update.replace(primary, 1, "TXT", '"primacy v=1 epoch=6 revision=1"')


def add_somebody_elses_text(
    update: dns.update.UpdateMessage, primary: dns.name.Name, _: dns.name.Name
) -> None:
    update.add(primary, 1, "TXT", '"v=spf1 -all" "second; \\"part\\""')


@pytest.mark.covers("T58")
@pytest.mark.parametrize(
    "vandal",
    [
        delete_both,
        change_the_address,
        delete_the_replicas_text,
        put_back_an_old_state,
        add_somebody_elses_text,
    ],
)
@pytest.mark.parametrize("remembers", [True, False], ids=["same_publisher", "new_leader"])
async def test_drift_is_seen_by_reading_back_and_repaired_by_publishing_again(
    bind_world: BindWorld,
    vandal: Callable[[dns.update.UpdateMessage, dns.name.Name, dns.name.Name], None],
    remembers: bool,
) -> None:
    names = wanted(a_cluster(), 7, 1)
    publisher = bind_world.publisher()
    await publisher.publish(names)
    update = by_hand()
    vandal(update, dns.name.from_text(names.primary_name), dns.name.from_text(names.replicas_name))
    assert await send_by_hand(bind_world, update) == dns.rcode.NOERROR
    assert disagreements(await bind_world.publisher().read_back(names.cluster), names) != ()
    repairer = publisher if remembers else bind_world.publisher()
    assert (await repairer.publish(names)).outcome is Publication.PUBLISHED
    assert disagreements(await publisher.read_back(names.cluster), names) == ()


async def test_a_change_after_drift_needs_only_a_second_look(bind_world: BindWorld) -> None:
    cluster, publisher = a_cluster(), bind_world.publisher()
    await publisher.publish(wanted(cluster, 7, 1))
    update = by_hand()
    names = wanted(cluster, 8, 2, primary=("10.0.0.2",))
    delete_both(update, dns.name.from_text(names.primary_name), dns.name.from_text(names.replicas_name))
    await send_by_hand(bind_world, update)
    assert (await publisher.publish(names)).outcome is Publication.PUBLISHED
    assert disagreements(await publisher.read_back(cluster), names) == ()


async def test_what_was_published_survives_kill_9_of_the_server() -> None:
    with named_running() as named:
        world = BindWorld(named)
        publisher = world.publisher()
        names = wanted("main", 7, 3, primary=("10.0.0.3",))
        await publisher.publish(wanted("main", 7, 2))
        await publisher.publish(names)
        named.kill()
        with pytest.raises(NotDelivered):
            await publisher.publish(wanted("main", 7, 4))
        named.start()
        assert disagreements(await publisher.read_back("main"), names) == ()
        assert (await publisher.publish(wanted("main", 7, 5))).outcome is Publication.PUBLISHED


async def test_names_too_long_for_a_datagram_are_published_by_tcp(bind_world: BindWorld) -> None:
    cluster = "a-very-long-name-for-a-cluster-" + "x" * 30
    many = tuple(f"fd00::{number:x}" for number in range(1, 40))
    names = wanted(cluster, 1, 1, replicas=many)
    assert (await bind_world.publisher().publish(names)).outcome is Publication.PUBLISHED
    # The answer doesn't fit into a datagram either: it comes truncated, and is asked for by TCP.
    assert disagreements(await bind_world.publisher().read_back(cluster), names) == ()


async def test_a_closed_port_is_not_delivered_and_told_at_once() -> None:
    settings = NameServerSettings(ZONE, ServerAddress(LOOPBACK, free_port()), A_KEY)
    began = time.monotonic()
    with pytest.raises(NotDelivered):
        await Rfc2136Names(settings).publish(wanted("main", 1, 1))
    assert time.monotonic() - began < 0.4


async def test_a_silent_server_that_was_never_sent_an_update_is_not_delivered(silent: ServerAddress) -> None:
    began = time.monotonic()
    with pytest.raises(NotDelivered):
        await Rfc2136Names(NameServerSettings(ZONE, silent, A_KEY)).publish(wanted("main", 1, 1))
    assert time.monotonic() - began < 2.2


async def test_silence_after_an_update_is_an_unknown_outcome_in_time(bind_world: BindWorld) -> None:
    async with between(bind_world.server) as relay:
        publisher = Rfc2136Names(replace(bind_world.settings(), server=relay.address))
        cluster = a_cluster()
        await publisher.publish(wanted(cluster, 1, 1))
        relay.passes = False
        began = time.monotonic()
        with pytest.raises(OutcomeUnknown):
            await publisher.publish(wanted(cluster, 1, 2))
        assert time.monotonic() - began < 2.2


async def test_an_update_whose_reply_was_lost_is_found_done_by_looking(bind_world: BindWorld) -> None:
    async with between(bind_world.server) as relay:
        publisher = Rfc2136Names(replace(bind_world.settings(), server=relay.address))
        cluster = a_cluster()
        await publisher.publish(wanted(cluster, 1, 1))
        relay.swallow_replies = 1
        outcome = await publisher.publish(wanted(cluster, 1, 2))
        assert outcome == Published(Publication.PUBLISHED, NameVersion(1, 2))
        assert relay.swallow_replies == 0


@pytest.mark.parametrize("true_reply_lost", [False, True], ids=["true_reply_follows", "true_reply_lost"])
@pytest.mark.parametrize("forgery", ["wrong_id", "garbage", "unsigned_success", "wrong_signature"])
async def test_a_forged_reply_neither_ends_nor_fools_an_update(
    bind_world: BindWorld, forgery: str, true_reply_lost: bool
) -> None:
    async with between(bind_world.server) as relay:
        publisher = Rfc2136Names(replace(bind_world.settings(), server=relay.address))
        cluster = a_cluster()
        await publisher.publish(wanted(cluster, 1, 1))
        relay.forge, relay.swallow_replies = forgery, int(true_reply_lost)
        began = time.monotonic()
        outcome = await publisher.publish(wanted(cluster, 1, 2))
        assert outcome == Published(Publication.PUBLISHED, NameVersion(1, 2))
        assert relay.forged == 1
        # With the true reply lost the forged one proved nothing: it was waited for, then looked up.
        assert (time.monotonic() - began > 0.45) is true_reply_lost


def test_a_named_that_does_not_start_says_why() -> None:
    with named_running() as named:
        files = replace(named.files, log=named.files.folder / "second.log")
        entry = files.folder.stat()
        owner = (entry.st_uid, entry.st_gid) if os.geteuid() == 0 else None
        files.configuration.write_text(files.configuration.read_text().replace("recursion no", "recursin no"))
        with pytest.raises(bind.NamedFailed, match="recursin"):
            bind.NamedProcess(bind.find_named() or named.files.folder, files, user=owner).start()


def test_the_secret_alone_is_the_same_key(bind_world: BindWorld) -> None:
    text = bind_world.named.files.secret.read_text()
    assert base64.b64decode(text) == bind_world.key.secret
