"""The contract of `NameService`: the same for a real BIND and for our own answerer.

interfaces.md, "DNS"; traps.md 58, 59, 62.
"""

from __future__ import annotations

import asyncio

import dns.flags
import dns.rcode
import dns.rdatatype
import pytest

from common.errors import Refused
from orchestrator.core.names import NameVersion, Publication, Published, disagreements
from orchestrator.egress.dns_key import ServerAddress
from tests.adapters.dns.worlds import ZONE, World, a_cluster, ask, free_port, texts, wanted

pytestmark = pytest.mark.real


async def test_a_first_publish_is_what_clients_find(world: World) -> None:
    cluster = a_cluster()
    names = wanted(cluster, 7, 4711, primary=("10.0.0.1", "fd00::1"))
    published = await world.publisher().publish(names)
    assert published == Published(Publication.PUBLISHED, NameVersion(7, 4711))
    assert await texts(world.server, f"primary.{cluster}.{ZONE}", "A") == ["10.0.0.1"]
    assert await texts(world.server, f"primary.{cluster}.{ZONE}", "AAAA") == ["fd00::1"]
    assert await texts(world.server, f"replicas.{cluster}.{ZONE}", "A") == ["10.0.0.2", "10.0.0.3"]
    for name in (names.primary_name, names.replicas_name):
        assert await texts(world.server, name, "TXT") == ['"primacy v=1 epoch=7 revision=4711"']


async def test_answers_are_authoritative_and_live_for_one_second(world: World) -> None:
    names = wanted(a_cluster(), 1, 1)
    await world.publisher().publish(names)
    reply = await ask(world.server, names.primary_name, "A")
    assert reply.flags & dns.flags.AA
    assert [rrset.ttl for rrset in reply.answer] == [1]


async def test_a_change_replaces_every_address_and_both_versions(world: World) -> None:
    cluster, publisher = a_cluster(), world.publisher()
    await publisher.publish(wanted(cluster, 7, 1, primary=("10.0.0.1", "fd00::1")))
    changed = wanted(cluster, 8, 2, primary=("10.0.0.2",), replicas=("10.0.0.3",))
    assert (await publisher.publish(changed)).outcome is Publication.PUBLISHED
    assert await texts(world.server, changed.primary_name, "A") == ["10.0.0.2"]
    assert await texts(world.server, changed.primary_name, "AAAA") == []
    assert await texts(world.server, changed.replicas_name, "A") == ["10.0.0.3"]
    assert disagreements(await publisher.read_back(cluster), changed) == ()


async def test_publishing_the_same_again_writes_nothing(world: World) -> None:
    cluster = a_cluster()
    names = wanted(cluster, 7, 1)
    first, second = world.publisher(), world.publisher()
    await first.publish(names)
    for publisher in (first, second, first):
        assert await publisher.publish(names) == Published(Publication.ALREADY, NameVersion(7, 1))


@pytest.mark.covers("T59")
@pytest.mark.parametrize(
    ("epoch", "revision"),
    [pytest.param(6, 99, id="older_epoch"), pytest.param(7, 9, id="older_revision_of_the_epoch")],
)
async def test_an_older_version_loses_and_changes_nothing(world: World, epoch: int, revision: int) -> None:
    cluster = a_cluster()
    newer = wanted(cluster, 7, 10, primary=("10.0.0.7",))
    late = world.publisher()
    await late.publish(wanted(cluster, 5, 1))  # it remembers what it wrote; that must not help it
    await world.publisher().publish(newer)
    outcome = await late.publish(wanted(cluster, epoch, revision, primary=("10.0.0.6",)))
    assert outcome == Published(Publication.SUPERSEDED, NameVersion(7, 10))
    assert disagreements(await world.publisher().read_back(cluster), newer) == ()


async def test_a_higher_revision_of_the_same_epoch_wins(world: World) -> None:
    cluster, publisher = a_cluster(), world.publisher()
    await publisher.publish(wanted(cluster, 7, 9))
    newer = wanted(cluster, 7, 10, replicas=("10.0.0.9",))
    assert (await world.publisher().publish(newer)).outcome is Publication.PUBLISHED
    assert await texts(world.server, newer.replicas_name, "A") == ["10.0.0.9"]


@pytest.mark.covers("T59")
async def test_concurrent_publishers_of_two_epochs_end_with_the_higher_one(world: World) -> None:
    for _ in range(10):
        cluster = a_cluster()
        old, new = wanted(cluster, 7, 1), wanted(cluster, 8, 2, primary=("10.0.0.8",))
        a, b = world.publisher(), world.publisher()
        late, winner = await asyncio.gather(a.publish(old), b.publish(new))
        assert winner == Published(Publication.PUBLISHED, NameVersion(8, 2))
        assert late.outcome in (Publication.PUBLISHED, Publication.SUPERSEDED)
        assert disagreements(await b.read_back(cluster), new) == ()


@pytest.mark.covers("T62")
async def test_no_client_ever_finds_the_name_empty_while_it_changes(world: World) -> None:
    cluster, publisher = a_cluster(), world.publisher()
    name = f"primary.{cluster}.{ZONE}"
    await publisher.publish(wanted(cluster, 1, 0, primary=("10.0.1.0",)))
    answers: list[list[str]] = []
    done = asyncio.Event()

    async def poll() -> None:
        while not done.is_set():
            answers.append(await texts(world.server, name, "A"))

    async with asyncio.TaskGroup() as group:
        polling = [group.create_task(poll()) for _ in range(2)]
        for revision in range(1, 40):
            await publisher.publish(wanted(cluster, 1, revision, primary=(f"10.0.1.{revision}",)))
            await asyncio.sleep(0)
        while len(answers) < 40:
            await asyncio.sleep(0)
        done.set()
        await asyncio.wait(polling)
    assert all(len(answer) == 1 for answer in answers)
    assert len({answer[0] for answer in answers}) > 1, "the polling must have seen changes"


@pytest.mark.covers("S53")
async def test_with_no_primary_the_old_answer_stays_under_the_new_version(world: World) -> None:
    cluster, publisher = a_cluster(), world.publisher()
    await publisher.publish(wanted(cluster, 7, 1, primary=("10.0.0.1",)))
    without = wanted(cluster, 8, 2, primary=(), replicas=("10.0.0.2",))
    await publisher.publish(without)
    assert await texts(world.server, without.primary_name, "A") == ["10.0.0.1"]
    assert await texts(world.server, without.primary_name, "TXT") == ['"primacy v=1 epoch=8 revision=2"']
    assert disagreements(await publisher.read_back(cluster), without) == ()
    assert (await world.publisher().publish(without)).outcome is Publication.ALREADY


async def test_with_no_standby_the_replicas_name_has_no_data_for_one_second(world: World) -> None:
    names = wanted(a_cluster(), 1, 1, replicas=())
    await world.publisher().publish(names)
    reply = await ask(world.server, names.replicas_name, "A")
    assert (reply.rcode(), reply.answer) == (dns.rcode.NOERROR, [])
    (soa,) = reply.authority
    assert soa.rdtype == dns.rdatatype.SOA
    assert soa[0].minimum == 1


async def test_a_cluster_that_was_never_published_does_not_exist(world: World) -> None:
    cluster = a_cluster()
    reply = await ask(world.server, f"primary.{cluster}.{ZONE}", "A")
    assert reply.rcode() == dns.rcode.NXDOMAIN
    assert [rrset.rdtype for rrset in reply.authority] == [dns.rdatatype.SOA]
    (answer,) = await world.publisher().read_back(cluster)
    assert answer.version is None
    assert disagreements([answer], wanted(cluster, 1, 1)) != ()


async def test_the_name_above_a_published_one_exists_without_data(world: World) -> None:
    names = wanted(a_cluster(), 1, 1)
    await world.publisher().publish(names)
    reply = await ask(world.server, f"{names.cluster}.{ZONE}", "A")
    assert (reply.rcode(), reply.answer) == (dns.rcode.NOERROR, [])


async def test_the_case_of_a_question_does_not_matter_and_comes_back_as_it_was(world: World) -> None:
    names = wanted(a_cluster(), 1, 1)
    await world.publisher().publish(names)
    spelled = names.primary_name.replace("primary", "pRiMaRy").replace(ZONE, "Db.TeSt")
    reply = await ask(world.server, spelled, "A")
    assert reply.question[0].name.to_text(omit_final_dot=True) == spelled
    assert [str(address) for address in reply.answer[0]] == ["10.0.0.1"]


async def test_a_question_about_somebody_elses_zone_is_refused(world: World) -> None:
    assert (await ask(world.server, "primary.main.elsewhere.test", "A")).rcode() == dns.rcode.REFUSED


async def test_publishing_into_another_zone_is_refused(world: World) -> None:
    with pytest.raises(Refused, match=r"elsewhere\.test"):
        await world.publisher().publish(wanted(a_cluster(), 1, 1, zone="elsewhere.test"))


@pytest.mark.covers("T58")
async def test_read_back_names_the_server_that_was_not_told(world: World, own_world: World) -> None:
    names = wanted(a_cluster(), 3, 1)
    publisher = world.publisher(verify=(world.server, own_world.server))
    await publisher.publish(names)
    answers = await publisher.read_back(names.cluster)
    found = disagreements(answers, names)
    assert found
    assert all(sentence.startswith(str(own_world.server)) for sentence in found)


async def test_read_back_names_a_dead_and_a_silent_server_within_its_deadline(
    world: World, silent: ServerAddress
) -> None:
    names = wanted(a_cluster(), 3, 1)
    dead = ServerAddress("127.0.0.1", free_port())
    publisher = world.publisher(verify=(world.server, dead, silent))
    await publisher.publish(names)
    began = asyncio.get_running_loop().time()
    answers = await publisher.read_back(names.cluster)
    assert asyncio.get_running_loop().time() - began < 1.0
    assert [answer.trouble == "" for answer in answers] == [True, False, False]
    assert [sentence.split(" ")[0] for sentence in disagreements(answers, names)] == [str(dead), str(silent)]
