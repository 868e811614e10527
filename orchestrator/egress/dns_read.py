"""What the servers say about a cluster's names, never recursive, never cached: six questions to each to read
them back, two for a client that looks for the primary.

Only reading. A server that answers without authority would be telling us its memory, so it counts
as one that did not answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype

from common.errors import NotDelivered, OutcomeUnknown, Refused
from orchestrator.core.names import (
    NameAnswer,
    ServerAnswer,
    normal_addresses,
    primary_name,
    replicas_name,
)
from orchestrator.egress.dns_exchange import ask_all, no
from orchestrator.egress.dns_key import ServerAddress

_KINDS = (dns.rdatatype.A, dns.rdatatype.AAAA, dns.rdatatype.TXT)


async def read_names(server: ServerAddress, cluster: str, zone: str, *, within_s: float) -> ServerAnswer:
    """Raise NotDelivered when the server is silent or out of order, Refused when it says no."""
    names = (primary_name(cluster, zone), replicas_name(cluster, zone))
    questions = [_question(name, kind, number) for number, (name, kind) in enumerate(_each_kind(names))]
    replies = await ask_all(server, questions, within_s=within_s)
    for reply in replies:
        _judge(server, reply)
    half = len(_KINDS)
    return ServerAnswer(
        server=str(server), primary=_name_answer(replies[:half]), replicas=_name_answer(replies[half:])
    )


async def read_addresses(server: ServerAddress, name: str, *, within_s: float) -> tuple[str, ...]:
    """One name as a client asks for it, A and AAAA; none where it does not exist. Raise as `read_names`."""
    kinds = (dns.rdatatype.A, dns.rdatatype.AAAA)
    questions = [_question(name.rstrip("."), kind, number) for number, kind in enumerate(kinds)]
    replies = await ask_all(server, questions, within_s=within_s)
    for reply in replies:
        _judge(server, reply)
    return _name_answer(replies).addresses


async def read_from_each(
    servers: Sequence[ServerAddress], cluster: str, zone: str, *, within_s: float
) -> tuple[ServerAnswer, ...]:
    """All servers at the same time; what goes wrong with one is its answer's trouble."""
    async with asyncio.TaskGroup() as group:
        readings = [group.create_task(_read_or_tell(server, cluster, zone, within_s)) for server in servers]
    return tuple(reading.result() for reading in readings)


async def _read_or_tell(server: ServerAddress, cluster: str, zone: str, within_s: float) -> ServerAnswer:
    try:
        return await read_names(server, cluster, zone, within_s=within_s)
    except (NotDelivered, OutcomeUnknown, Refused) as trouble:
        return ServerAnswer(server=str(server), primary=None, replicas=None, trouble=str(trouble))


def _each_kind(names: Sequence[str]) -> list[tuple[str, dns.rdatatype.RdataType]]:
    return [(name, kind) for name in names for kind in _KINDS]


def _question(name: str, kind: dns.rdatatype.RdataType, number: int) -> dns.message.Message:
    question = dns.message.make_query(name + ".", kind, use_edns=0, payload=1232)
    question.flags &= ~dns.flags.RD
    # The replies are told apart by the id: random above, the question's number in the low bits.
    question.id = (question.id & 0xFFF8) | number
    return question


def _judge(server: ServerAddress, reply: dns.message.Message) -> None:
    refusal = no(server, reply)
    if refusal is not None:
        raise Refused(refusal)
    if reply.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        raise NotDelivered(f"{server} answered {dns.rcode.to_text(reply.rcode())}")
    if not reply.flags & dns.flags.AA:
        raise NotDelivered(f"{server} is not authoritative for the zone")


def _name_answer(replies: Sequence[dns.message.Message]) -> NameAnswer:
    addresses: list[str] = []
    texts: list[str] = []
    for reply in replies:
        asked = reply.question[0]
        for rrset in reply.answer:
            if rrset.name == asked.name and rrset.rdtype == asked.rdtype:
                (texts if rrset.rdtype == dns.rdatatype.TXT else addresses).extend(map(str, rrset))
    return NameAnswer(addresses=normal_addresses(addresses), texts=tuple(sorted(texts)))
