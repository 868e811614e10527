"""One question to one name server, and the reply that really belongs to it.

Here are sockets, deadlines and the checks of a reply: its id, its question, its signature, its
code. What the messages mean is not known here (`dns_read`, `dns_update`).

Every exchange has its own socket, so its own port: a forger must guess that beside the id. What is
not a reply to our question is ignored and counted, and the wait goes on: one forged datagram must
not end an exchange. The sort of an error says what may have happened to a request that changes
something: NotDelivered, nothing; OutcomeUnknown, anything; Refused, the server said no.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.tsig

from common.errors import NotDelivered, OutcomeUnknown, Refused
from orchestrator.egress.dns_key import ServerAddress

UDP_REQUEST_BYTES_MAX = 512
"""RFC 2136 section 7.8: longer requests go over TCP; we never find out about a middlebox the hard way."""

_DATAGRAM_BYTES_MAX = 65535

_TSIG_TROUBLES: dict[type[dns.tsig.PeerError], str] = {
    dns.tsig.PeerBadKey: "BadKey: the server does not know our key by this name and algorithm",
    dns.tsig.PeerBadSignature: "BadSignature: the server's secret for our key is another one",
    dns.tsig.PeerBadTime: "BadTime: the server's clock and ours are more than 300 s apart",
    dns.tsig.PeerBadTruncation: "BadTruncation: the server wants longer signatures",
}


_SAYS_NO = frozenset(
    {dns.rcode.REFUSED, dns.rcode.NOTAUTH, dns.rcode.NOTZONE, dns.rcode.NOTIMP, dns.rcode.FORMERR}
)


class _NotOurs(Exception):
    """What came in is no reply to our question. Stays in this module."""


@dataclass(slots=True)
class _Ignored:
    """What was heard during an exchange and did not count; told when nothing else came."""

    count: int = 0
    last: str = ""

    def add(self, why: _NotOurs) -> None:
        self.count += 1
        self.last = str(why)

    def __str__(self) -> str:
        return f"; {self.count} ignored, the last one because {self.last}" if self.count else ""


@dataclass(slots=True)
class Heard:
    """The replies so far, by the id of the question. A question without one was not answered in time."""

    replies: dict[int, dns.message.Message] = field(default_factory=dict)
    ignored: _Ignored = field(default_factory=_Ignored)


async def exchange(
    server: ServerAddress, request: dns.message.Message, *, within_s: float, by_tcp: bool = False
) -> dns.message.Message:
    """Send once, by UDP where it fits; a truncated reply is asked for again over TCP.

    The reply is ours and rightly signed (where the request was); its code is not judged here, but
    see `no`. Raise NotDelivered, OutcomeUnknown (no reply in time), Refused (our key is no good).
    """
    wire = request.to_wire()
    heard = Heard()
    try:
        async with asyncio.timeout(within_s):
            if by_tcp or len(wire) > UDP_REQUEST_BYTES_MAX:
                return await _over_tcp(server, request, wire)
            await _over_udp(server, [(request, wire)], heard, again_after_s=None)
            reply = heard.replies[request.id]
            if reply.flags & dns.flags.TC:
                return await _over_tcp(server, request, wire)
            return reply
    except TimeoutError as late:
        raise OutcomeUnknown(f"{server} did not answer in {within_s:g} s{heard.ignored}") from late


async def ask_all(
    server: ServerAddress, questions: Sequence[dns.message.Message], *, within_s: float
) -> list[dns.message.Message]:
    """All questions at once over one socket; what stays unanswered is asked once more at half time.

    Only for questions that change nothing: silence is NotDelivered here.
    """
    heard = Heard()
    try:
        async with asyncio.timeout(within_s):
            wires = [(question, question.to_wire()) for question in questions]
            await _over_udp(server, wires, heard, again_after_s=within_s / 2)
            for question, wire in wires:
                if heard.replies[question.id].flags & dns.flags.TC:
                    heard.replies[question.id] = await _over_tcp(server, question, wire)
    except (TimeoutError, OutcomeUnknown) as silence:
        answered = f"{len(heard.replies)} of {len(questions)} questions"
        raise NotDelivered(f"{server} answered {answered} in {within_s:g} s{heard.ignored}") from silence
    return [heard.replies[question.id] for question in questions]


def no(server: ServerAddress, reply: dns.message.Message) -> str | None:
    """Why the server said no, for a person; None for the codes that are no final no."""
    signed = "" if reply.had_tsig else " (unsigned)"
    match reply.rcode():
        case dns.rcode.REFUSED:
            return f"NotAuthorised: {server} answered REFUSED{signed}"
        case dns.rcode.NOTAUTH:
            return f"NotAuthorised: {server} answered NOTAUTH{signed}: not its zone, or not our key"
        case dns.rcode.NOTZONE | dns.rcode.NOTIMP | dns.rcode.FORMERR as code:
            return f"{server} answered {dns.rcode.to_text(code)}{signed}"
        case _:
            return None


def _read_reply(wire: bytes, request: dns.message.Message) -> dns.message.Message:
    """Raise _NotOurs for what doesn't belong to the request, Refused where the server rejects our key."""
    try:
        reply = dns.message.from_wire(wire, keyring=False, ignore_trailing=False)
    except dns.exception.DNSException as trouble:
        raise _NotOurs(f"it is no DNS message ({type(trouble).__name__})") from trouble
    if reply.id != request.id:
        raise _NotOurs("its id is not that of the question")
    if not request.is_response(reply):
        raise _NotOurs("it answers another question")
    if not request.had_tsig:
        return reply
    if not reply.had_tsig:
        # A server that knows no TSIG at all says no unsigned. A forged "done" would hide a failure,
        # a forged "no" is only a nuisance, and whoever can forge it can also drop the request.
        if reply.rcode() in _SAYS_NO:
            return reply
        raise _NotOurs("it is not signed")
    try:
        dns.message.from_wire(wire, keyring=request.keyring, request_mac=request.mac)
    except dns.tsig.PeerError as rejected:
        raise Refused(_TSIG_TROUBLES.get(type(rejected), f"TSIG: {rejected}")) from rejected
    except dns.exception.DNSException as trouble:
        raise _NotOurs(f"its signature is wrong ({type(trouble).__name__})") from trouble
    return reply


async def _over_udp(
    server: ServerAddress,
    wires: Sequence[tuple[dns.message.Message, bytes]],
    heard: Heard,
    *,
    again_after_s: float | None,
) -> None:
    """Return when every question has its reply. The caller's deadline ends it before that."""
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if server.is_ipv6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as endpoint:
        try:
            # Connected: the kernel drops what comes from anybody else, and tells us of a closed port.
            endpoint.connect((server.host, server.port))
            for _, wire in wires:
                await loop.sock_sendall(endpoint, wire)
            try:
                async with asyncio.timeout(again_after_s):
                    await _collect(endpoint, server, wires, heard)
            except TimeoutError:
                for question, wire in wires:
                    if question.id not in heard.replies:
                        await loop.sock_sendall(endpoint, wire)
                await _collect(endpoint, server, wires, heard)
        except OSError as trouble:
            if isinstance(trouble, TimeoutError):
                raise
            raise NotDelivered(f"{server} can't be reached by UDP: {trouble.strerror}") from trouble


async def _collect(
    endpoint: socket.socket,
    server: ServerAddress,
    wires: Sequence[tuple[dns.message.Message, bytes]],
    heard: Heard,
) -> None:
    loop = asyncio.get_running_loop()
    waiting = {question.id: question for question, _ in wires if question.id not in heard.replies}
    while waiting:
        wire = await loop.sock_recv(endpoint, _DATAGRAM_BYTES_MAX)
        try:
            if len(wire) < 2 or (question := waiting.get(int.from_bytes(wire[:2], "big"))) is None:
                raise _NotOurs("its id is not that of a question")
            reply = _read_reply(wire, question)
        except Refused as refusal:
            raise Refused(f"{server}: {refusal}") from refusal
        except _NotOurs as why:
            heard.ignored.add(why)
            continue
        heard.replies[question.id] = reply
        del waiting[question.id]


async def _over_tcp(server: ServerAddress, request: dns.message.Message, wire: bytes) -> dns.message.Message:
    try:
        reader, writer = await asyncio.open_connection(server.host, server.port)
    except OSError as trouble:
        if isinstance(trouble, TimeoutError):
            raise
        raise NotDelivered(f"{server} can't be reached by TCP: {trouble.strerror}") from trouble
    try:
        writer.write(struct.pack("!H", len(wire)) + wire)
        length = int.from_bytes(await reader.readexactly(2), "big")
        return _read_reply(await reader.readexactly(length), request)
    except (asyncio.IncompleteReadError, ConnectionError) as trouble:
        raise OutcomeUnknown(f"{server} closed the TCP connection before its reply was whole") from trouble
    except Refused as refusal:
        raise Refused(f"{server}: {refusal}") from refusal
    except _NotOurs as why:
        # Over TCP nobody else can have sent it: the server itself is confused.
        raise OutcomeUnknown(f"{server} answered over TCP, but {why}") from why
    finally:
        writer.transport.abort()
