"""Three etcd members, of which the leader is killed or frozen: a bounded gap, never two terms that save."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from common.clock import BootClock
from common.errors import LostLeadership, NotDelivered, OutcomeUnknown, Refused
from common.timebase import elapsed_ms
from orchestrator.etcd.client import Client
from orchestrator.etcd.election import ElectionTimes, EtcdElection
from orchestrator.etcd.keyspace import Keyspace
from orchestrator.etcd.record_store import EtcdRecordStore
from orchestrator.ports import Shard, Term
from orchestrator.shell.leadership import Leadership
from tests.adapters.etcd import gateway
from tests.adapters.etcd.scratch_etcd import EtcdMember, scratch_cluster
from tests.adapters.etcd.test_election import taking_part, term_of

pytestmark = [pytest.mark.real, pytest.mark.slow]

RECOVERS_WITHIN_MS = 10_000
"""An election inside etcd (about 1.5 s), at worst a lease that lives for twice its time (6 s), and load."""


@pytest.fixture
def three(etcd_is_installed: None) -> Iterator[list[EtcdMember]]:
    with scratch_cluster(3) as members:
        yield members


def leader_first(members: list[EtcdMember]) -> list[EtcdMember]:
    def leads(member: EtcdMember) -> bool:
        status = gateway.ask(member, "maintenance/status", {})
        header = status["header"]
        assert isinstance(header, dict)
        return str(header["member_id"]) == str(status["leader"])

    return sorted(members, key=lambda member: not leads(member))


async def saved_again(
    records: EtcdRecordStore, election: EtcdElection, revision: int, clock: BootClock
) -> tuple[Term, int]:
    """What the shell does: whatever happens, read again and save under the term that is ours now."""
    began_at = clock.now()
    while elapsed_ms(since=began_at, now=clock.now()) < RECOVERS_WITHIN_MS:
        term = election.term
        try:
            if term is not None:
                stored = await records.load("main")
                assert stored is not None
                assert stored.mod_revision >= revision  # the record never goes back
                await records.save("main", stored.body + b".", stored.mod_revision, term)
                return term, elapsed_ms(since=began_at, now=clock.now())
        except (NotDelivered, OutcomeUnknown, LostLeadership, Refused):
            pass
        await asyncio.sleep(0.05)
    raise AssertionError("no save succeeded in time")


@pytest.mark.parametrize("fault", ["kill", "freeze"])
async def test_the_loss_of_etcds_leader_is_ridden_out(
    three: list[EtcdMember], keys: Keyspace, clock: BootClock, fault: str
) -> None:
    victim, *others = leader_first(three)
    client = Client([victim.address, *(member.address for member in others)], clock=clock)
    witness = Client([member.address for member in others], clock=clock)
    election = EtcdElection(
        client, keys, clock, shard=Shard("0"), name="one", address="one:7432", times=ElectionTimes()
    )
    records = EtcdRecordStore(client, keys, clock)
    try:
        async with taking_part(election):
            first = await term_of(election)
            revision = await records.save("main", b"x", 0, first)
            if fault == "kill":
                victim.kill()
            else:
                victim.freeze()
            term, took_ms = await saved_again(records, election, revision, clock)
            print(f"{fault}: saved again after {took_ms} ms, same term: {term == first}")
            assert term.create_revision >= first.create_revision
            if term != first:
                with pytest.raises(LostLeadership):
                    await EtcdRecordStore(witness, keys, clock).save("main", b"late", revision, first)
            assert client.endpoint.address != victim.address
    finally:
        if fault == "freeze":
            victim.thaw()
        await client.close()
        await witness.close()


async def test_who_is_asked_without_a_leader_says_whether_it_is_etcd(
    three: list[EtcdMember], keys: Keyspace, clock: BootClock
) -> None:
    client = Client([member.address for member in three], clock=clock)
    election = EtcdElection(client, keys, clock, shard=Shard("0"), name="one", address="one:7432")
    try:
        leadership = Leadership(election)
        assert await leadership.why_nobody_leads() == "etcd answers, and nobody is elected at the moment"
        for member in three[1:]:
            member.kill()
        why = await leadership.why_nobody_leads()
        assert why.startswith("etcd does not answer, which takes a majority of its members (")
    finally:
        await client.close()
