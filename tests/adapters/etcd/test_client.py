"""The thin client: members that fail, watches, other etcds, certificates, logins."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path

import pytest

from common.clock import BootClock
from common.errors import BadConfig, NotDelivered, OutcomeUnknown, Refused
from orchestrator.etcd.client import CallTimes, Client, Login
from orchestrator.etcd.endpoint import Tls
from orchestrator.etcd.keyspace import Keyspace
from orchestrator.etcd.record_store import EtcdRecordStore
from orchestrator.etcd.spec_store import EtcdSpecStore
from orchestrator.etcd.watch import Alive, Changes, Relist
from orchestrator.ports import ClusterIdChanged, Shard, Term
from tests.adapters.etcd import gateway
from tests.adapters.etcd.certificates import Authority
from tests.adapters.etcd.relay import Relay
from tests.adapters.etcd.scratch_etcd import EtcdMember, free_ports, scratch_cluster

pytestmark = pytest.mark.real

QUICK = CallTimes(connect_within_ms=200, call_within_ms=200, total_within_ms=600, watch_for_ms=400)


class TestAsking:
    async def test_what_was_put_is_got(self, client: Client, keys: Keyspace) -> None:
        key = f"{keys.prefix}a"
        revision = await client.put(key, b"\x00\xff")
        found = await client.get(key)
        assert found is not None
        assert (found.key, found.value, found.mod_revision, found.create_revision) == (
            key,
            b"\x00\xff",
            revision,
            revision,
        )
        assert await client.delete(key) is True
        assert await client.delete(key) is False
        assert await client.get(key) is None

    async def test_a_long_listing_is_read_page_by_page_as_of_one_revision(
        self, client: Client, keys: Keyspace
    ) -> None:
        for number in range(300):
            await client.put(f"{keys.prefix}list/{number:03}", b"x")
        await client.put(f"{keys.prefix}list0", b"outside")
        listing = await client.get_prefix(f"{keys.prefix}list/")
        assert [found.key[-3:] for found in listing.found] == [f"{number:03}" for number in range(300)]

    async def test_the_next_member_is_asked_when_one_is_not_there(
        self, etcd: EtcdMember, keys: Keyspace, clock: BootClock
    ) -> None:
        nobody = f"127.0.0.1:{free_ports(1)[0]}"
        client = Client([nobody, etcd.address], clock=clock)
        try:
            await client.put(f"{keys.prefix}a", b"1")  # a write may move on too: it was not handed over
            assert client.endpoint.address == etcd.address
            found = await client.get(f"{keys.prefix}a")
            assert found is not None
        finally:
            await client.close()

    async def test_a_read_is_asked_elsewhere_when_a_member_hangs(
        self, etcd: EtcdMember, own_etcd: EtcdMember, keys: Keyspace, clock: BootClock
    ) -> None:
        async with Relay(etcd.client_port) as relay:
            client = Client([relay.address, etcd.address], clock=clock)
            try:
                await client.get("a")
                relay.lose_answers()
                asked_at = clock.now()
                assert await client.get("a") is None
                assert clock.now() - asked_at < 1_000_000
            finally:
                await client.close()

    @pytest.mark.covers("S52")
    async def test_a_frozen_etcd_costs_no_more_than_the_deadlines(
        self, own_etcd: EtcdMember, clock: BootClock
    ) -> None:
        client = Client([own_etcd.address], clock=clock, times=QUICK)
        try:
            await client.get("a")
            own_etcd.freeze()
            asked_at = clock.now()
            with pytest.raises(NotDelivered):
                await client.get("a")
            with pytest.raises(OutcomeUnknown):
                await client.put("a", b"1")
            assert clock.now() - asked_at < 2_000_000
            own_etcd.thaw()
            await client.get("a")
        finally:
            own_etcd.thaw()
            await client.close()

    @pytest.mark.covers("S52")
    async def test_what_etcd_turns_down_is_refused(self, client: Client) -> None:
        with pytest.raises(Refused):
            await client.put("", b"a key is needed")
        with pytest.raises(Refused):
            await client.put("a", b"1", lease_id=12345)

    async def test_members_and_their_state_can_be_asked_for(self, client: Client) -> None:
        assert [member.name for member in await client.member_list()] == ["e1"]
        status = await client.status()
        assert status.version.startswith("3.")
        assert status.leader_id

    @pytest.mark.parametrize(
        "address",
        ["etcd", "https://127.0.0.1:2379", "ftp://127.0.0.1:2379"],
        ids=["no_port", "no_ca", "scheme"],
    )
    def test_an_address_that_can_not_be_right_is_an_operators_mistake(
        self, address: str, clock: BootClock
    ) -> None:
        with pytest.raises(BadConfig):
            Client([address], clock=clock)


class TestLeases:
    async def test_a_lease_lives_while_it_is_kept_and_takes_its_keys_with_it(
        self, client: Client, keys: Keyspace
    ) -> None:
        granted = await client.lease_grant(30)
        await client.put(f"{keys.prefix}a", b"1", granted.lease_id)
        kept = await client.lease_keep_alive(granted.lease_id)
        assert kept.ttl_s == 30
        assert kept.sent_at >= granted.sent_at
        await client.lease_revoke(granted.lease_id)
        assert await client.get(f"{keys.prefix}a") is None
        assert (await client.lease_keep_alive(granted.lease_id)).ttl_s == 0

    async def test_a_lease_that_is_gone_can_be_given_back_again(self, client: Client) -> None:
        granted = await client.lease_grant(30)
        await client.lease_revoke(granted.lease_id)
        await client.lease_revoke(granted.lease_id)


class TestWatching:
    async def test_changes_come_in_order_from_the_revision_asked_for(
        self, client: Client, keys: Keyspace
    ) -> None:
        first = await client.put(f"{keys.prefix}a", b"1")
        await client.put(f"{keys.prefix}a", b"2")
        async with aclosing(client.watch(keys.prefix, prefix=True, start_revision=first)) as events:
            seen: list[tuple[str, bytes | None]] = []
            await client.delete(f"{keys.prefix}a")
            async for event in events:
                assert isinstance(event, Changes)
                for change in event.changes:
                    seen.append((change.key[-1], change.now.value if change.now else None))
                if len(seen) == 3:
                    break
            assert seen == [("a", b"1"), ("a", b"2"), ("a", None)]

    @pytest.mark.covers("T64")
    async def test_nothing_is_missed_across_streams_and_a_lost_connection(
        self, relay: Relay, client: Client, keys: Keyspace, clock: BootClock
    ) -> None:
        watching = Client([relay.address], clock=clock, times=QUICK)
        try:
            revision = await client.put(f"{keys.prefix}a", b"0")
            async with aclosing(watching.watch(f"{keys.prefix}a", start_revision=revision)) as events:
                seen: list[bytes] = []
                alive_count = 0
                async for event in events:
                    match event:
                        case Changes(changes):
                            seen += [change.now.value for change in changes if change.now]
                        case Alive():
                            alive_count += 1
                        case Relist():
                            pytest.fail("there was no gap")
                    match alive_count:
                        case 1:
                            await client.put(f"{keys.prefix}a", b"1")
                        case 2:
                            relay.heal()  # cuts the connection
                            await client.put(f"{keys.prefix}a", b"2")
                    if b"2" in seen:
                        break
            assert sorted(set(seen)) == [b"0", b"1", b"2"]
        finally:
            await watching.close()

    @pytest.mark.covers("T64")
    async def test_a_watch_into_compacted_history_says_list_again(
        self, own_etcd: EtcdMember, clock: BootClock
    ) -> None:
        client = Client([own_etcd.address], clock=clock)
        try:
            first = await client.put("a", b"1")
            last = await client.put("a", b"2")
            gateway.compact(own_etcd, last)
            async with aclosing(client.watch("a", start_revision=first)) as events:
                event = await anext(events)
                assert isinstance(event, Relist)
                assert event.compact_revision == last
                with pytest.raises(StopAsyncIteration):
                    await anext(events)
        finally:
            await client.close()

    async def test_the_feed_of_specifications_lists_anew_after_a_compaction_it_slept_through(
        self, own_etcd: EtcdMember, keys: Keyspace, clock: BootClock
    ) -> None:
        client = Client([own_etcd.address], clock=clock)
        async with Relay(own_etcd.client_port) as relay:
            away = Client([relay.address], clock=clock, times=QUICK)
            try:
                here = EtcdSpecStore(client, keys, clock)
                await here.save("a", b"1", 0)
                async with EtcdSpecStore(away, keys, clock).feed() as feed:
                    assert set(await anext(feed)) == {"a"}
                    relay.refuse()
                    await client.delete(keys.spec("a"))
                    await here.save("b", b"2", 0)
                    gateway.compact(own_etcd, await client.put("other", b""))
                    relay.heal()
                    while set(await anext(feed)) != {"b"}:
                        pass
            finally:
                await away.close()
                await client.close()

    async def test_a_watch_on_a_frozen_etcd_ends_instead_of_hanging(
        self, own_etcd: EtcdMember, clock: BootClock
    ) -> None:
        client = Client([own_etcd.address], clock=clock, times=QUICK)
        try:
            revision = await client.put("a", b"1")
            async with aclosing(client.watch("a", start_revision=revision)) as events:
                await anext(events)
                own_etcd.freeze()
                async with asyncio.timeout(5):
                    with pytest.raises(NotDelivered):
                        [event async for event in events]
        finally:
            own_etcd.thaw()
            await client.close()


class TestAnotherEtcd:
    async def test_another_cluster_id_is_an_error_of_its_own_for_reads_and_writes(
        self, relay: Relay, own_etcd: EtcdMember, relayed_client: Client, keys: Keyspace, clock: BootClock
    ) -> None:
        term = Term(create_revision=1, key=keys.election(Shard("0")), lease_id=0)
        await relayed_client.get("a")
        known = relayed_client.cluster_id
        relay.point_at(own_etcd.client_port)
        with pytest.raises(ClusterIdChanged) as changed:
            await relayed_client.get("a")
        assert changed.value.known == known
        with pytest.raises(ClusterIdChanged):
            await EtcdRecordStore(relayed_client, keys, clock).save("main", b"1", 0, term)
        assert relayed_client.cluster_id == known

    async def test_an_id_known_from_before_is_checked_from_the_first_answer(
        self, etcd: EtcdMember, clock: BootClock
    ) -> None:
        client = Client([etcd.address], clock=clock, cluster_id=4711)
        try:
            with pytest.raises(ClusterIdChanged):
                await client.get("a")
        finally:
            await client.close()


class TestCertificatesAndLogins:
    async def test_etcd_that_asks_for_certificates_serves_us_with_one_and_nobody_without(
        self, etcd_is_installed: None, tmp_path: Path, clock: BootClock
    ) -> None:
        authority = Authority("etcd's authority")
        with scratch_cluster(extra=authority.server_options(tmp_path), scheme="https") as [member]:
            strange = Authority("a stranger").client("control:one")
            uncertified = Tls(authority.pem)
            clients = {
                "ours": Client([member.address], clock=clock, tls=authority.client("control:one")),
                "strangers": Client([member.address], clock=clock, tls=strange, times=QUICK),
                "nobody's": Client([member.address], clock=clock, tls=uncertified, times=QUICK),
            }
            try:
                await clients["ours"].put("a", b"1")
                found = await clients["ours"].get("a")
                assert found is not None
                assert found.value == b"1"
                with pytest.raises(NotDelivered):
                    await clients["strangers"].put("a", b"2")
                # Without a certificate the handshake seems to succeed on our side: then it is unknown.
                with pytest.raises((NotDelivered, OutcomeUnknown)):
                    await clients["nobody's"].put("a", b"2")
                found = await clients["ours"].get("a")
                assert found is not None
                assert found.value == b"1"
            finally:
                for client in clients.values():
                    await client.close()

    @pytest.mark.covers("T64")
    async def test_a_login_is_renewed_when_its_token_has_run_out(
        self, etcd_is_installed: None, clock: BootClock
    ) -> None:
        with scratch_cluster(extra=("--bcrypt-cost", "4")) as [member]:
            gateway.demand_login(member, "root", "secret")
            ours = Client([member.address], clock=clock, login=Login("root", "secret"))
            stranger = Client([member.address], clock=clock, login=Login("root", "guess"), times=QUICK)
            nobody = Client([member.address], clock=clock, times=QUICK)
            try:
                await ours.put("a", b"1")
                ours._token = "one that etcd has forgotten"
                await ours.put("a", b"2")
                ours._token = "one that etcd has forgotten"
                found = await ours.get("a")
                assert found is not None
                assert found.value == b"2"
                for client in (stranger, nobody):
                    with pytest.raises(Refused):
                        await client.put("a", b"3")
                    with pytest.raises(Refused):
                        await client.get("a")
            finally:
                for client in (ours, stranger, nobody):
                    await client.close()
