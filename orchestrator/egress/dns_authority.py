"""What our own name server answers: one datagram in, at most one out. No socket, no clock.

The answers come straight from `NameTable`, the last known names of each cluster. It serves A, AAAA
and TXT of both names, SOA and NS at the top of each zone, and the addresses of name servers that
lie in the zone. It does not recurse, transfer, notify or take updates: whoever may change a name
is decided by the record, never by a packet.

The work for a packet is bounded before it is read: its length, its number of records, its opcode.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Final

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from orchestrator.core.names import (
    NAME_TTL_S,
    NEGATIVE_TTL_S,
    Publication,
    Published,
    WantedNames,
    normal_addresses,
    normal_name,
)

REQUEST_BYTES_MAX = 2048
"""The longest question that anybody sends has a few hundred bytes; longer ones are not read."""

UDP_REPLY_BYTES_MAX = 1232
"""What fits through every path unfragmented; a client may ask for less, never for more."""

_REMEMBERED_MAX = 1024
_REMEMBERED_BYTES_MAX = 300
_HEADER = struct.Struct("!HHHHHH")
_RECORDS_MAX: Final = (0, 1, 3)  # answer, authority (IXFR sends one), additional (OPT, TSIG, one to spare)
_TOP_TTL_S = 300


class Heard(Enum):
    """What became of a packet: the bounded labels of the answerer's counter."""

    ANSWERED = "answered"
    TRUNCATED = "truncated"
    REFUSED = "refused"
    NOT_IMPLEMENTED = "not_implemented"
    MALFORMED = "malformed"
    BAD_VERSION = "bad_version"
    DROPPED_SHORT = "dropped_short"
    DROPPED_LONG = "dropped_long"
    DROPPED_RESPONSE = "dropped_response"
    DROPPED_OVER_RATE = "dropped_over_rate"
    DROPPED_UNSENT = "dropped_unsent"
    TCP_OVER_LIMIT = "tcp_over_limit"
    TCP_TOO_SLOW = "tcp_too_slow"
    TCP_BROKEN = "tcp_broken"


@dataclass(frozen=True, slots=True)
class AnsweredZone:
    """A zone delegated to the control nodes. `name_servers`: host name → its addresses."""

    name: str
    name_servers: Mapping[str, tuple[str, ...]]

    def __post_init__(self) -> None:
        if not self.name_servers:
            raise ValueError(f"zone {self.name} needs at least one name server")
        object.__setattr__(self, "name", normal_name(self.name))
        servers = {
            normal_name(host): normal_addresses(addresses) for host, addresses in self.name_servers.items()
        }
        object.__setattr__(self, "name_servers", MappingProxyType(servers))


class NameTable:
    """The last known names of every cluster. A newer version replaces an older one, never the reverse."""

    def __init__(self) -> None:
        self.published: Mapping[str, WantedNames] = MappingProxyType(
            {}
        )  # by cluster; replaced, never changed

    def get(self, cluster: str) -> WantedNames | None:
        return self.published.get(cluster)

    def publish(self, wanted: WantedNames) -> Published:
        known = self.published.get(wanted.cluster)
        if known is not None and known.version > wanted.version:
            return Published(Publication.SUPERSEDED, known.version)
        if known is not None and not wanted.primary:
            wanted = WantedNames(
                cluster=wanted.cluster,
                zone=wanted.zone,
                epoch=wanted.epoch,
                revision=wanted.revision,
                primary=known.primary,  # with no primary the old answer stays
                replicas=wanted.replicas,
            )
        if known == wanted:
            return Published(Publication.ALREADY, wanted.version)
        # One assignment: a reader sees the old table or the new one.
        self.published = MappingProxyType({**self.published, wanted.cluster: wanted})
        return Published(Publication.PUBLISHED, wanted.version)


class Authority:
    """Answers for its zones, from the table as it is at this moment."""

    def __init__(self, zones: Iterable[AnsweredZone], table: NameTable) -> None:
        self._zones = {dns.name.from_text(zone.name): zone for zone in zones}
        self._table = table
        self._replies: dict[tuple[bool, bytes], tuple[Heard, bytes | None]] = {}
        self._replies_from: object = None  # the state of the table that `_replies` were made from
        self.heard: Counter[Heard] = Counter()

    def reply(self, wire: bytes, *, by_tcp: bool) -> bytes | None:
        """None: better no answer at all. Every call is counted once in `heard`."""
        sort, out = self._remembered(wire, by_tcp=by_tcp)
        self.heard[sort] += 1
        return None if out is None else wire[:2] + out[2:]

    def _remembered(self, wire: bytes, *, by_tcp: bool) -> tuple[Heard, bytes | None]:
        """Resolvers repeat themselves to the byte but for the id: 0.4 ms of work once, then 2 µs."""
        if self._replies_from is not self._table.published:
            self._replies_from = self._table.published
            self._replies.clear()
        key = (by_tcp, wire[2:])
        known = self._replies.get(key)
        if known is None:
            known = self._reply(wire, by_tcp=by_tcp)
            if len(wire) <= _REMEMBERED_BYTES_MAX:
                if len(self._replies) >= _REMEMBERED_MAX:
                    self._replies.clear()  # many different questions: a flood, or hostile; start again
                self._replies[key] = known
        return known

    def _reply(self, wire: bytes, *, by_tcp: bool) -> tuple[Heard, bytes | None]:
        if len(wire) < _HEADER.size:
            return Heard.DROPPED_SHORT, None
        if len(wire) > REQUEST_BYTES_MAX:
            return Heard.DROPPED_LONG, None
        _, flags, questions, *records = _HEADER.unpack_from(wire)
        if flags & dns.flags.QR:
            return Heard.DROPPED_RESPONSE, None  # answering answers would make two servers talk for ever
        match dns.opcode.from_flags(flags):
            case dns.opcode.QUERY:
                pass
            case dns.opcode.UPDATE:
                return Heard.REFUSED, _header_only(wire, dns.rcode.REFUSED)
            case _:
                return Heard.NOT_IMPLEMENTED, _header_only(wire, dns.rcode.NOTIMP)
        if questions != 1 or any(count > most for count, most in zip(records, _RECORDS_MAX, strict=True)):
            return Heard.MALFORMED, _header_only(wire, dns.rcode.FORMERR)
        try:
            query = dns.message.from_wire(wire, keyring=False)
        except dns.exception.DNSException:
            return Heard.MALFORMED, _header_only(wire, dns.rcode.FORMERR)
        sort, response = self._respond(query)
        room = 65535 if by_tcp else min(max(query.payload, 512), UDP_REPLY_BYTES_MAX)
        out = response.to_wire(max_size=room, prefer_truncation=True)
        return (Heard.TRUNCATED if out[2] & 0x02 else sort), out

    def _respond(self, query: dns.message.Message) -> tuple[Heard, dns.message.Message]:
        response = dns.message.make_response(query, our_payload=UDP_REPLY_BYTES_MAX, pad=0)
        if query.edns >= 0:
            # DO is copied (RFC 3225); we have no signatures to send with it.
            wants_dnssec = query.ednsflags & dns.flags.DO
            response.use_edns(0, wants_dnssec, payload=UDP_REPLY_BYTES_MAX)
        if query.edns > 0:
            response.set_rcode(dns.rcode.BADVERS)
            return Heard.BAD_VERSION, response
        asked = query.question[0]
        top = self._zone_of(asked.name)
        if top is None or asked.rdclass != dns.rdataclass.IN or _is_no_data_type(asked.rdtype):
            response.set_rcode(dns.rcode.REFUSED)
            return Heard.REFUSED, response
        response.flags |= dns.flags.AA
        self._fill(response, asked, top)
        return Heard.ANSWERED, response

    def _zone_of(self, name: dns.name.Name) -> dns.name.Name | None:
        while True:
            if name in self._zones:
                return name
            if name == dns.name.root:
                return None
            name = name.parent()

    def _fill(self, response: dns.message.Message, asked: dns.rrset.RRset, top: dns.name.Name) -> None:
        found = self._records_at(asked.name, top)
        if found is None:
            response.set_rcode(dns.rcode.NXDOMAIN)
        else:
            wanted_all = asked.rdtype == dns.rdatatype.ANY
            response.answer = [rrset for rrset in found if wanted_all or rrset.rdtype == asked.rdtype]
        if not response.answer:
            response.authority = [self._soa(top, top)]

    def _records_at(self, name: dns.name.Name, top: dns.name.Name) -> list[dns.rrset.RRset] | None:
        """None: no such name. Empty: the name is there (maybe only names below it) and has no records.

        Owners are spelled as the question spells them: some resolvers compare even the case.
        """
        zone = self._zones[top]
        below = normal_name(name.relativize(top).to_text(omit_final_dot=True)) if name != top else ""
        if not below:
            return [self._soa(name, top), _name_servers(name, zone)]
        full = normal_name(name.to_text())
        if full in zone.name_servers:  # before the clusters: one of them may be called "ns1"
            return _addresses(name, zone.name_servers[full], _TOP_TTL_S)
        match below.split("."):
            case ["primary", cluster] if (names := self._in_zone(cluster, zone)) is not None:
                return _cluster_name(name, names, names.primary)
            case ["replicas", cluster] if (names := self._in_zone(cluster, zone)) is not None:
                return _cluster_name(name, names, names.replicas)
            case [cluster] if self._in_zone(cluster, zone) is not None:
                return []
        return [] if any(host.endswith(f".{full}") for host in zone.name_servers) else None

    def _in_zone(self, cluster: str, zone: AnsweredZone) -> WantedNames | None:
        names = self._table.get(cluster)
        return names if names is not None and names.zone == zone.name else None

    def _soa(self, owner: dns.name.Name, top: dns.name.Name) -> dns.rrset.RRset:
        zone = self._zones[top]
        # etcd's revision only rises, and is the same on all control nodes once they have the record.
        serial = max(
            (names.revision for names in self._table.published.values() if names.zone == zone.name), default=0
        )
        first = min(zone.name_servers)
        text = f"{first}. hostmaster.{zone.name}. {serial % 2**32} 3600 600 604800 {NEGATIVE_TTL_S}"
        return _rrset(owner, NEGATIVE_TTL_S, dns.rdatatype.SOA, text)


def _is_no_data_type(kind: dns.rdatatype.RdataType) -> bool:
    """OPT, and 128 to 255 but ANY: they ask for a transfer or for work, not for data (RFC 6895, 3.1)."""
    return kind == dns.rdatatype.OPT or (128 <= kind <= 255 and kind != dns.rdatatype.ANY)


def _header_only(wire: bytes, code: dns.rcode.Rcode) -> bytes:
    """Nothing of the packet was understood but its header, so nothing of it is sent back."""
    id_, flags, *_ = _HEADER.unpack_from(wire)
    kept = flags & (0x7800 | dns.flags.RD)  # the opcode, and "recursion desired"
    return _HEADER.pack(id_, dns.flags.QR | kept | code, 0, 0, 0, 0)


def _cluster_name(
    owner: dns.name.Name, names: WantedNames, addresses: tuple[str, ...]
) -> list[dns.rrset.RRset]:
    text = _rrset(owner, NAME_TTL_S, dns.rdatatype.TXT, f'"{names.version.text}"')
    return [*_addresses(owner, addresses, NAME_TTL_S), text]


def _addresses(owner: dns.name.Name, addresses: tuple[str, ...], ttl_s: int) -> list[dns.rrset.RRset]:
    by_kind = {
        dns.rdatatype.A: [address for address in addresses if ":" not in address],
        dns.rdatatype.AAAA: [address for address in addresses if ":" in address],
    }
    return [_rrset(owner, ttl_s, kind, *of_kind) for kind, of_kind in by_kind.items() if of_kind]


def _name_servers(owner: dns.name.Name, zone: AnsweredZone) -> dns.rrset.RRset:
    return _rrset(owner, _TOP_TTL_S, dns.rdatatype.NS, *(f"{host}." for host in sorted(zone.name_servers)))


def _rrset(owner: dns.name.Name, ttl_s: int, kind: dns.rdatatype.RdataType, *texts: str) -> dns.rrset.RRset:
    return dns.rrset.from_text_list(owner, ttl_s, dns.rdataclass.IN, kind, texts)
