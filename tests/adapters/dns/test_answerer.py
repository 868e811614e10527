"""What the answerer does with what the world sends it: right questions, wrong ones, garbage, floods."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import dns.asyncquery
import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdatatype
import dns.update
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from common.errors import BadConfig
from orchestrator.egress.dns_answerer import Answerer, AnswererLimits, AnswererNames
from orchestrator.egress.dns_authority import (
    REQUEST_BYTES_MAX,
    UDP_REPLY_BYTES_MAX,
    AnsweredZone,
    Authority,
    Heard,
    NameTable,
)
from orchestrator.egress.dns_key import ServerAddress
from tests.adapters.dns.worlds import LOOPBACK, ZONE, AnswererWorld, ask, texts, wanted

PRIMARY = f"primary.main.{ZONE}."
FULL_OF_STANDBYS = tuple(f"10.1.{number // 250}.{number % 250}" for number in range(200))


def authority(*zones: str) -> Authority:
    table = NameTable()
    table.publish(wanted("main", 7, 4711))
    table.publish(wanted("full", 7, 4712, replicas=FULL_OF_STANDBYS))
    named = zones or (ZONE,)
    return Authority([AnsweredZone(zone, {f"ns1.{zone}": (LOOPBACK, "::1")}) for zone in named], table)


def question(name: str = PRIMARY, kind: str = "A", **options: object) -> dns.message.QueryMessage:
    return dns.message.make_query(name, kind, **options)  # type: ignore[arg-type]


def answered(asked: dns.message.Message, by: Authority | None = None) -> dns.message.Message:
    reply = (by or authority()).reply(asked.to_wire(), by_tcp=False)
    assert reply is not None
    return dns.message.from_wire(reply, ignore_trailing=False)


def test_the_top_of_the_zone_has_its_soa_and_name_servers() -> None:
    soa = answered(question(f"{ZONE}.", "SOA"))
    (rdata,) = soa.answer[0]
    assert (rdata.serial, rdata.minimum, str(rdata.mname)) == (4712, 1, f"ns1.{ZONE}.")
    assert [str(server) for server in answered(question(f"{ZONE}.", "NS")).answer[0]] == [f"ns1.{ZONE}."]
    assert [str(address) for address in answered(question(f"ns1.{ZONE}.", "AAAA")).answer[0]] == ["::1"]


@pytest.mark.parametrize(
    ("name", "code"),
    [
        pytest.param(f"primary.main.{ZONE}.", dns.rcode.NOERROR, id="known_name_other_type"),
        pytest.param(f"main.{ZONE}.", dns.rcode.NOERROR, id="name_with_names_below"),
        pytest.param(f"{ZONE}.", dns.rcode.NOERROR, id="top"),
        pytest.param(f"other.main.{ZONE}.", dns.rcode.NXDOMAIN, id="neither_of_the_two"),
        pytest.param(f"deeper.primary.main.{ZONE}.", dns.rcode.NXDOMAIN, id="below_a_name"),
        pytest.param(f"primary.nobody.{ZONE}.", dns.rcode.NXDOMAIN, id="unknown_cluster"),
        pytest.param(f"nobody.{ZONE}.", dns.rcode.NXDOMAIN, id="unknown_cluster_itself"),
    ],
)
def test_no_data_and_no_name_are_told_apart_and_carry_the_soa(name: str, code: dns.rcode.Rcode) -> None:
    reply = answered(question(name, "MX"))
    assert (reply.rcode(), reply.answer) == (code, [])
    (soa,) = reply.authority
    assert (soa.name, soa.rdtype, soa.ttl) == (dns.name.from_text(ZONE), dns.rdatatype.SOA, 1)


def test_any_gets_all_that_is_there() -> None:
    kinds = {rrset.rdtype for rrset in answered(question(kind="ANY")).answer}
    assert kinds == {dns.rdatatype.A, dns.rdatatype.TXT}


def test_a_zone_inside_another_answers_for_itself() -> None:
    both = authority(ZONE, f"inner.{ZONE}")
    reply = answered(question(f"inner.{ZONE}.", "SOA"), both)
    assert reply.answer[0].name == dns.name.from_text(f"inner.{ZONE}")


def test_an_owner_is_spelled_as_the_question_spelled_it() -> None:
    reply = answered(question("pRiMaRy.MAIN.dB.test."))
    assert reply.answer[0].name.to_text() == "pRiMaRy.MAIN.dB.test."


@pytest.mark.parametrize("kind", ["AXFR", "IXFR", "TKEY", "MAILB"])
def test_transfers_and_other_requests_for_work_are_refused(kind: str) -> None:
    asked = dns.message.make_query(f"{ZONE}.", kind)
    assert answered(asked).rcode() == dns.rcode.REFUSED


def test_another_class_is_refused() -> None:
    assert answered(question("version.bind.", "TXT", rdclass="CH")).rcode() == dns.rcode.REFUSED


def test_an_update_is_refused_and_other_opcodes_are_not_implemented() -> None:
    update = dns.update.UpdateMessage(ZONE)
    update.replace("primary.main", 1, "A", "10.66.66.66")
    assert answered(update).rcode() == dns.rcode.REFUSED
    for opcode in (dns.opcode.NOTIFY, dns.opcode.STATUS, 15):
        asked = question()
        asked.set_opcode(dns.opcode.Opcode(opcode))
        reply = authority().reply(asked.to_wire(), by_tcp=False)
        assert reply is not None
        assert reply[3] & 0xF == dns.rcode.NOTIMP


def test_recursion_is_neither_done_nor_offered() -> None:
    reply = answered(question())
    assert reply.flags & dns.flags.RD
    assert not reply.flags & dns.flags.RA


def test_edns_is_answered_with_edns_and_nothing_else_is() -> None:
    with_edns = answered(question(use_edns=0, payload=4096, want_dnssec=True))
    assert (with_edns.edns, with_edns.payload) == (0, UDP_REPLY_BYTES_MAX)
    assert with_edns.ednsflags & dns.flags.DO
    assert answered(question()).edns == -1


def test_an_unknown_version_of_edns_is_bad_version() -> None:
    reply = answered(question(use_edns=1))
    assert (reply.rcode(), reply.answer, reply.edns) == (dns.rcode.BADVERS, [], 0)


@pytest.mark.parametrize(
    ("payload", "room"),
    [(None, 512), (100, 512), (512, 512), (700, 700), (65535, UDP_REPLY_BYTES_MAX)],
)
def test_a_reply_never_exceeds_the_room_and_is_marked_truncated(payload: int | None, room: int) -> None:
    asked = question(f"replicas.full.{ZONE}.", use_edns=-1 if payload is None else 0, payload=payload or 0)
    wire = authority().reply(asked.to_wire(), by_tcp=False)
    assert wire is not None
    assert len(wire) <= room
    assert dns.message.from_wire(wire).flags & dns.flags.TC


def test_a_truncated_reply_is_whole_over_tcp() -> None:
    wire = authority().reply(question(f"replicas.full.{ZONE}.").to_wire(), by_tcp=True)
    assert wire is not None
    reply = dns.message.from_wire(wire)
    assert not reply.flags & dns.flags.TC
    assert len(reply.answer[0]) == len(FULL_OF_STANDBYS)


def test_a_remembered_reply_has_the_id_of_the_new_question_and_never_outlives_a_change() -> None:
    table = NameTable()
    own = Authority([AnsweredZone(ZONE, {f"ns1.{ZONE}": (LOOPBACK,)})], table)
    for revision in range(1, 4):
        table.publish(wanted("main", 1, revision, primary=(f"10.0.0.{revision}",)))
        for _ in range(3):
            asked = question()
            reply = answered(asked, own)
            assert asked.is_response(reply)
            assert [str(address) for address in reply.answer[0]] == [f"10.0.0.{revision}"]
    assert own.heard == {Heard.ANSWERED: 9}


def test_what_is_remembered_is_bounded() -> None:
    own = authority()
    for number in range(1500):
        own.reply(WIRE[:2] + number.to_bytes(2, "big") + WIRE[4:11], by_tcp=False)
    assert len(own._replies) <= 1024


WIRE = question(use_edns=0).to_wire()


@pytest.mark.parametrize(
    ("wire", "sort"),
    [
        pytest.param(b"", Heard.DROPPED_SHORT, id="empty"),
        pytest.param(WIRE[:11], Heard.DROPPED_SHORT, id="no_whole_header"),
        pytest.param(WIRE[:2] + b"\x80" + WIRE[3:], Heard.DROPPED_RESPONSE, id="a_reply"),
        pytest.param(WIRE + b"\0" * REQUEST_BYTES_MAX, Heard.DROPPED_LONG, id="too_long"),
    ],
)
def test_what_deserves_no_answer_gets_none_and_is_counted(wire: bytes, sort: Heard) -> None:
    own = authority()
    assert own.reply(wire, by_tcp=False) is None
    assert own.heard == {sort: 1}


@pytest.mark.parametrize(
    "wire",
    [
        pytest.param(WIRE[:20], id="cut_in_the_name"),
        pytest.param(WIRE + b"x", id="trailing"),
        pytest.param(WIRE[:4] + b"\0\0" + WIRE[6:], id="no_question"),
        pytest.param(WIRE[:4] + b"\0\2" + WIRE[6:], id="two_questions"),
        pytest.param(WIRE[:6] + b"\xff\xff" + WIRE[8:], id="claims_many_answers"),
        pytest.param(WIRE[:10] + b"\xff\xff" + WIRE[12:], id="claims_many_additional"),
        pytest.param(WIRE[:12] + b"\xc0\x0c\0\1\0\1", id="a_name_that_points_at_itself"),
    ],
)
def test_a_malformed_question_gets_format_error_with_its_id(wire: bytes) -> None:
    own = authority()
    reply = own.reply(wire, by_tcp=False)
    assert reply is not None
    assert (reply[:2], reply[3] & 0xF, len(reply)) == (WIRE[:2], dns.rcode.FORMERR, 12)
    assert own.heard == {Heard.MALFORMED: 1}


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A right question with a few bytes changed, cut or added: deeper than random bytes reach."""
    wire = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(0, 6))):
        wire[draw(st.integers(0, len(wire) - 1))] = draw(st.integers(0, 255))
    wire = wire[: draw(st.integers(0, len(wire)))] if draw(st.booleans()) else wire
    return bytes(wire + draw(st.binary(max_size=40)))


def _signed() -> bytes:
    asked = question()
    asked.use_tsig({dns.name.from_text("k"): b"k" * 32}, algorithm="hmac-sha256")
    return asked.to_wire()


SEEDS = [
    WIRE,
    question(kind="ANY").to_wire(),
    question(use_edns=0, options=[dns.edns.GenericOption(dns.edns.OptionType.COOKIE, b"cookie!!")]).to_wire(),
    question(f"replicas.full.{ZONE}.", "AAAA", use_edns=0, pad=128).to_wire(),
    _signed(),
]
OWN = authority()


@given(st.one_of(st.binary(max_size=600), mutated()), st.booleans())
@settings(max_examples=1500, deadline=None)
@example(WIRE[:2] + b"\0" * 4 + b"\0" * 6, False)
def test_no_bytes_bring_the_answerer_down_or_make_it_talk_nonsense(wire: bytes, by_tcp: bool) -> None:
    before = OWN.heard.total()
    reply = OWN.reply(wire, by_tcp=by_tcp)
    assert OWN.heard.total() == before + 1
    if reply is None:
        return
    assert reply[:2] == wire[:2]
    assert reply[2] & 0x80
    assert not wire[2] & 0x80
    assert by_tcp or len(reply) <= UDP_REPLY_BYTES_MAX
    dns.message.from_wire(reply, keyring=False)


async def test_garbage_by_udp_leaves_the_answerer_answering(own_world: AnswererWorld) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        for wire in (b"", b"\0", b"\xff" * 40, WIRE[:15], b"\0" * 5000, WIRE[:2] + b"\x80" + WIRE[3:]):
            stranger.sendto(wire, (own_world.server.host, own_world.server.port))
    await own_world.publisher().publish(wanted("main", 1, 1))
    assert await texts(own_world.server, PRIMARY, "A") == ["10.0.0.1"]
    heard = own_world.answerer.heard
    assert (heard[Heard.DROPPED_SHORT], heard[Heard.DROPPED_LONG], heard[Heard.MALFORMED]) == (2, 1, 1)
    assert heard[Heard.DROPPED_RESPONSE] == 2  # bytes of 0xff look like a reply


async def test_several_questions_go_through_one_connection(own_world: AnswererWorld) -> None:
    await own_world.publisher().publish(wanted("main", 1, 1))
    reader, writer = await asyncio.open_connection(own_world.server.host, own_world.server.port)
    framed = struct.pack("!H", len(WIRE)) + WIRE
    writer.write(framed + framed)
    for _ in range(2):
        length = int.from_bytes(await reader.readexactly(2), "big")
        reply = dns.message.from_wire(await reader.readexactly(length))
        assert [str(address) for address in reply.answer[0]] == ["10.0.0.1"]
    writer.close()


@pytest.mark.parametrize(
    ("sent", "sort"),
    [
        pytest.param(b"", Heard.TCP_TOO_SLOW, id="says_nothing"),
        pytest.param(b"\0\x40half", Heard.TCP_TOO_SLOW, id="stops_in_the_middle"),
        pytest.param(b"\xff\xff", Heard.DROPPED_LONG, id="announces_too_much"),
        pytest.param(b"\0\0", Heard.DROPPED_SHORT, id="announces_nothing"),
    ],
)
async def test_a_connection_that_is_no_use_is_ended_and_counted(sent: bytes, sort: Heard) -> None:
    limits = AnswererLimits(idle_s=0.1, connection_s=0.3)
    async with limited(limits) as answerer:
        reader, writer = await asyncio.open_connection(LOOPBACK, answerer.addresses[0].port)
        writer.write(sent)
        async with asyncio.timeout(2):
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await reader.readexactly(1)
        writer.close()
        assert answerer.heard[sort] == 1


async def test_connections_above_the_limit_are_closed_and_counted_and_udp_goes_on() -> None:
    async with limited(AnswererLimits(connections=2)) as answerer:
        port = answerer.addresses[0].port
        kept = [await asyncio.open_connection(LOOPBACK, port) for _ in range(2)]
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        async with asyncio.timeout(2):
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await reader.readexactly(1)
        assert answerer.heard[Heard.TCP_OVER_LIMIT] == 1
        assert (await ask(answerer.addresses[0], PRIMARY, "A")).rcode() == dns.rcode.NOERROR
        for _, open_writer in [*kept, (reader, writer)]:
            open_writer.close()


async def test_a_flood_is_answered_up_to_the_rate_and_the_rest_is_counted() -> None:
    async with limited(AnswererLimits(answers_per_s=100)) as answerer:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as flood:
            flood.connect((LOOPBACK, answerer.addresses[0].port))
            for _ in range(50):
                flood.send(WIRE)
            async with asyncio.timeout(2):
                while answerer.heard.total() < 50:
                    await asyncio.sleep(0)
        assert answerer.heard[Heard.DROPPED_OVER_RATE] >= 20
        assert answerer.heard[Heard.ANSWERED] >= 10


async def test_an_address_in_use_is_an_operators_mistake_with_its_remedy(own_world: AnswererWorld) -> None:
    zone = AnsweredZone(ZONE, {f"ns1.{ZONE}": (LOOPBACK,)})
    second = Answerer([own_world.server], [zone], NameTable())
    with pytest.raises(BadConfig, match="another name server"):
        async with second.serving():
            pass


@pytest.mark.skipif(not socket.has_ipv6, reason="needs IPv6 in the kernel, get it by enabling it")
async def test_it_answers_over_ipv6_too() -> None:
    zone = AnsweredZone(ZONE, {f"ns1.{ZONE}": (LOOPBACK,)})
    table = NameTable()
    table.publish(wanted("main", 1, 1))
    listen = [ServerAddress(LOOPBACK, 0), ServerAddress("::1", 0)]
    try:
        async with Answerer(listen, [zone], table).serving():
            pass
    except BadConfig:
        pytest.skip("needs IPv6 on the loopback interface")
    answerer = Answerer(listen, [zone], table)
    async with answerer.serving():
        names = AnswererNames(ZONE, table, answerer.addresses)
        answers = await names.read_back("main")
    assert [answer.trouble for answer in answers] == ["", ""]


async def test_without_a_network_the_own_table_is_read_back() -> None:
    table = NameTable()
    names = AnswererNames(ZONE, table)
    await names.publish(wanted("main", 3, 1))
    (answer,) = await names.read_back("main")
    assert answer.primary is not None
    assert answer.primary.addresses == ("10.0.0.1",)


@asynccontextmanager
async def limited(limits: AnswererLimits) -> AsyncIterator[Answerer]:
    """An answerer with one cluster, for the length of a block."""
    table = NameTable()
    table.publish(wanted("main", 1, 1))
    zone = AnsweredZone(ZONE, {f"ns1.{ZONE}": (LOOPBACK,)})
    answerer = Answerer([ServerAddress(LOOPBACK, 0)], [zone], table, limits)
    async with answerer.serving():
        yield answerer
