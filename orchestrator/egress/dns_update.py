"""The port `NameService` on a real name server: RFC 2136 updates, signed with TSIG.

One UPDATE replaces everything on both names of a cluster; a server applies it whole or not at all
(RFC 2136 section 3.7), so no resolver ever finds the name empty (traps.md 62). Its prerequisite is
the TXT of both names exactly as last seen, so a publisher who has not seen the newest version
changes nothing, however late its packet arrives (traps.md 59).

In the good case that is a single round trip: what this process saw last is remembered, and the
prerequisite makes a stale memory harmless (it costs a second look).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdataset
import dns.rdatatype
import dns.update

from common.errors import NotDelivered, OutcomeUnknown, Refused
from common.resilience import POLICIES
from orchestrator.core.names import (
    NAME_TTL_S,
    NameAnswer,
    Publication,
    Published,
    ServerAnswer,
    WantedNames,
    differences,
    normal_name,
    primary_name,
    replicas_name,
)
from orchestrator.egress.dns_exchange import exchange, no
from orchestrator.egress.dns_key import ServerAddress, TsigKey
from orchestrator.egress.dns_read import read_from_each, read_names

_ROUNDS_MAX = 8
"""Each lost round means that somebody else wrote, or a packet was lost; more than a few is an illness."""

_PAUSE_S = 0.02


@dataclass(frozen=True, slots=True)
class NameServerSettings:
    """One zone. `server` takes updates (its primary); `verify` are all its authoritative servers."""

    zone: str
    server: ServerAddress
    key: TsigKey
    verify: tuple[ServerAddress, ...] = ()  # empty: `server` alone
    exchange_within_s: float = POLICIES["dns.exchange"].timeout_s
    publish_within_s: float = 2.0


@dataclass(slots=True)
class _Doubt:
    """Whether an UPDATE of this publish may have arrived without our knowing."""

    why: str = ""


class Rfc2136Names:
    """See `orchestrator.ports.NameService`."""

    def __init__(self, settings: NameServerSettings) -> None:
        self._zone = normal_name(settings.zone)
        self._settings = settings
        self._key = settings.key.for_dnspython()
        self._seen: dict[str, ServerAnswer] = {}  # by cluster, of `server` only

    async def publish(self, wanted: WantedNames) -> Published:
        if wanted.zone != self._zone:
            raise Refused(f"{wanted.cluster} is in zone {wanted.zone}, this name server is for {self._zone}")
        doubt = _Doubt()
        try:
            async with asyncio.timeout(self._settings.publish_within_s):
                return await self._publish(wanted, doubt)
        except TimeoutError as late:
            within_s = self._settings.publish_within_s
            if doubt.why:
                raise OutcomeUnknown(f"not published in {within_s:g} s; {doubt.why}") from late
            raise NotDelivered(f"{self._settings.server}: not published in {within_s:g} s") from late
        except NotDelivered as trouble:
            if doubt.why:
                raise OutcomeUnknown(f"{doubt.why}; then {trouble}") from trouble
            raise

    async def read_back(self, cluster: str) -> tuple[ServerAnswer, ...]:
        servers = self._settings.verify or (self._settings.server,)
        answers = await read_from_each(
            servers, cluster, self._zone, within_s=self._settings.exchange_within_s
        )
        for server, answer in zip(servers, answers, strict=True):
            if server == self._settings.server and answer.primary is not None:
                self._seen[cluster] = answer
        return answers

    async def _publish(self, wanted: WantedNames, doubt: _Doubt) -> Published:
        seen = self._seen.get(wanted.cluster)
        if seen is None or seen.version is None or seen.version >= wanted.version:
            # Nothing remembered, or a repeat: what stands there must be looked at (drift, traps.md 58).
            seen = await self._read(wanted.cluster)
        for _ in range(_ROUNDS_MAX):
            if seen.version is not None and seen.version > wanted.version:
                return Published(Publication.SUPERSEDED, seen.version)
            if not differences(seen, wanted):
                outcome = Publication.PUBLISHED if doubt.why else Publication.ALREADY
                return Published(outcome, wanted.version)
            if await self._replace(wanted, seen, doubt):
                return Published(Publication.PUBLISHED, wanted.version)
            seen = await self._read(wanted.cluster)
        trouble = f"{self._settings.server}: {_ROUNDS_MAX} rounds, and each time the names had changed"
        if doubt.why:
            raise OutcomeUnknown(f"{trouble}; {doubt.why}")
        raise NotDelivered(f"{trouble} (is this the zone's primary?)")

    async def _read(self, cluster: str) -> ServerAnswer:
        self._seen.pop(cluster, None)
        seen = await read_names(
            self._settings.server, cluster, self._zone, within_s=self._settings.exchange_within_s
        )
        self._seen[cluster] = seen
        return seen

    async def _replace(self, wanted: WantedNames, seen: ServerAnswer, doubt: _Doubt) -> bool:
        """True when it is done; False when it must be looked at again."""
        try:
            reply = await exchange(
                self._settings.server,
                update_message(wanted, seen, self._key),
                within_s=self._settings.exchange_within_s,
                by_tcp=bool(doubt.why),  # after a silence: another path, and one that tells of closed ports
            )
        except OutcomeUnknown as silence:
            # Asking again is safe although it may have happened: the prerequisite lets one copy through.
            doubt.why = str(silence)
            return False
        refusal = no(self._settings.server, reply)
        if refusal is not None:
            raise Refused(refusal)
        match reply.rcode():
            case dns.rcode.NOERROR:
                self._seen[wanted.cluster] = _as_written(wanted, seen)
                return True
            case dns.rcode.NXRRSET | dns.rcode.YXRRSET | dns.rcode.NXDOMAIN:
                return False
            case code:
                # SERVFAIL: while it loads, or its disk is full. It says nothing about what was done.
                doubt.why = f"{self._settings.server} answered {dns.rcode.to_text(code)}"
                await asyncio.sleep(_PAUSE_S)
                return False


def update_message(
    wanted: WantedNames, seen: ServerAnswer, key: dns.tsig.Key | None
) -> dns.update.UpdateMessage:
    """Prerequisite: each TXT as seen, or its absence. Then every rrset of both names, replaced."""
    update = dns.update.UpdateMessage(dns.name.from_text(wanted.zone), keyring=key)
    primary = dns.name.from_text(primary_name(wanted.cluster, wanted.zone))
    replicas = dns.name.from_text(replicas_name(wanted.cluster, wanted.zone))
    for name, answer in ((primary, seen.primary), (replicas, seen.replicas)):
        if answer is not None and answer.texts:
            update.present(name, _rdataset(dns.rdatatype.TXT, answer.texts, ttl_s=0))  # 0: RFC 2136, 2.4.2
        else:
            update.absent(name, dns.rdatatype.TXT)
    if wanted.primary:
        _replace_addresses(update, primary, wanted.primary)
    _replace_addresses(update, replicas, wanted.replicas)
    version = _rdataset(dns.rdatatype.TXT, (f'"{wanted.version.text}"',))
    update.replace(primary, version)
    update.replace(replicas, version)
    return update


def _replace_addresses(
    update: dns.update.UpdateMessage, name: dns.name.Name, addresses: tuple[str, ...]
) -> None:
    by_kind = {
        dns.rdatatype.A: tuple(address for address in addresses if ":" not in address),
        dns.rdatatype.AAAA: tuple(address for address in addresses if ":" in address),
    }
    for kind, of_kind in by_kind.items():
        if of_kind:
            update.replace(name, _rdataset(kind, of_kind))
        else:
            update.delete(name, kind)


def _rdataset(
    kind: dns.rdatatype.RdataType, texts: tuple[str, ...], *, ttl_s: int = NAME_TTL_S
) -> dns.rdataset.Rdataset:
    return dns.rdataset.from_text_list(dns.rdataclass.IN, kind, ttl_s, texts)


def _as_written(wanted: WantedNames, seen: ServerAnswer) -> ServerAnswer:
    """What the server must say now. An address that was left alone is as it was seen."""
    texts = (f'"{wanted.version.text}"',)
    left = seen.primary.addresses if seen.primary is not None else ()
    return ServerAnswer(
        server=seen.server,
        primary=NameAnswer(wanted.primary or left, texts),
        replicas=NameAnswer(wanted.replicas, texts),
    )
