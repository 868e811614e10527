"""What a cluster's DNS names say: which version, which addresses, and who disagrees.

Here lives the vocabulary of the port `NameService` and the arithmetic on it. Pure: no
wire format, no server, no clock. How names are written to a server lives in `egress`.

Each cluster has two names, `primary.<cluster>.<zone>` and `replicas.<cluster>.<zone>`. Both
carry addresses (A, AAAA) and one TXT with the version of the record they were made from.
The version makes a late publisher lose: it is compared by whoever writes (traps.md 59).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from ipaddress import ip_address

NAME_TTL_S = 1
"""Clients find the new primary at most this much later. Lower than 1 would mean "never cache"."""

NEGATIVE_TTL_S = 1
"""How long "there is no such name" may be believed (SOA minimum, RFC 2308)."""

_VERSION_TEXT = re.compile(r"primacy v=1 epoch=(0|[1-9][0-9]{0,18}) revision=(0|[1-9][0-9]{0,18})")


@dataclass(frozen=True, slots=True, order=True)
class NameVersion:
    """Which version of the record the names were made from; ordered as R7 orders assignments."""

    epoch: int
    revision: int

    @property
    def text(self) -> str:
        return f"primacy v=1 epoch={self.epoch} revision={self.revision}"

    @classmethod
    def parse(cls, text: str) -> NameVersion | None:
        """None for a TXT that is not ours; somebody else's text has no version, and is replaced."""
        found = _VERSION_TEXT.fullmatch(text)
        return None if found is None else cls(epoch=int(found[1]), revision=int(found[2]))


@dataclass(frozen=True, slots=True)
class WantedNames:
    """What the record asks of both names. Addresses are normalised: equal sets compare equal."""

    cluster: str
    zone: str
    epoch: int
    revision: int
    primary: tuple[str, ...]  # empty: the old answer stays, only its version rises
    replicas: tuple[str, ...]  # empty: the name exists and has no address

    def __post_init__(self) -> None:
        object.__setattr__(self, "zone", normal_name(self.zone))
        object.__setattr__(self, "primary", normal_addresses(self.primary))
        object.__setattr__(self, "replicas", normal_addresses(self.replicas))

    @property
    def version(self) -> NameVersion:
        return NameVersion(epoch=self.epoch, revision=self.revision)

    @property
    def primary_name(self) -> str:
        return primary_name(self.cluster, self.zone)

    @property
    def replicas_name(self) -> str:
        return replicas_name(self.cluster, self.zone)


class Publication(Enum):
    PUBLISHED = "published"
    ALREADY = "already"  # the server said so before; nothing was written
    SUPERSEDED = "superseded"  # a newer version stands there; nothing was written


@dataclass(frozen=True, slots=True)
class Published:
    outcome: Publication
    version: NameVersion  # the version that stands on the server now


@dataclass(frozen=True, slots=True)
class NameAnswer:
    """What one server says about one name."""

    addresses: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()  # each TXT in its presentation form, exactly as read

    @property
    def version(self) -> NameVersion | None:
        return max(_versions(self.texts), default=None)


@dataclass(frozen=True, slots=True)
class ServerAnswer:
    """What one authoritative server says about both names, or why it said nothing."""

    server: str
    primary: NameAnswer | None
    replicas: NameAnswer | None
    trouble: str = ""

    @property
    def version(self) -> NameVersion | None:
        """The highest that stands on either name: a publisher with a lower one has lost."""
        both = (answer.version for answer in (self.primary, self.replicas) if answer is not None)
        return max((version for version in both if version is not None), default=None)


def differences(answer: ServerAnswer, wanted: WantedNames) -> tuple[str, ...]:
    """Empty when the server says what is wanted; else a sentence for each thing that differs."""
    if answer.primary is None or answer.replicas is None:
        return (f"{answer.server} did not answer: {answer.trouble}",)
    return (
        *_name_differences(answer.server, wanted.primary_name, answer.primary, wanted.version,
                           wanted.primary or answer.primary.addresses),
        *_name_differences(answer.server, wanted.replicas_name, answer.replicas, wanted.version,
                           wanted.replicas),
    )  # fmt: skip


def disagreements(answers: Iterable[ServerAnswer], wanted: WantedNames) -> tuple[str, ...]:
    """Every difference of every server. Empty, for at least one answer: DNS was read back."""
    return tuple(sentence for answer in answers for sentence in differences(answer, wanted))


def primary_name(cluster: str, zone: str) -> str:
    return f"primary.{cluster}.{zone}"


def replicas_name(cluster: str, zone: str) -> str:
    return f"replicas.{cluster}.{zone}"


def normal_name(name: str) -> str:
    """Lower case, without the final dot: DNS names compare so."""
    return name.rstrip(".").lower()


def normal_addresses(addresses: Iterable[str]) -> tuple[str, ...]:
    """Sorted, without repeats, IPv4 before IPv6. A text that is no address is a ValueError."""
    return _normalised(tuple(addresses))


@lru_cache(maxsize=65_536)  # every turn asks for the same few of its cluster
def _normalised(addresses: tuple[str, ...]) -> tuple[str, ...]:
    unique = {ip_address(address) for address in addresses}
    return tuple(str(address) for address in sorted(unique, key=lambda one: (one.version, int(one))))


def _name_differences(
    server: str, name: str, answer: NameAnswer, version: NameVersion, addresses: tuple[str, ...]
) -> Iterable[str]:
    if answer.texts != (_quoted(version.text),):
        yield f"{server} says {', '.join(answer.texts) or 'no TXT'} at {name}, not {_quoted(version.text)}"
    if answer.addresses != addresses:
        yield (
            f"{server} says {', '.join(answer.addresses) or 'no address'} at {name},"
            f" not {', '.join(addresses) or 'no address'}"
        )


def _versions(texts: Iterable[str]) -> Iterable[NameVersion]:
    for text in texts:
        version = NameVersion.parse(text.removeprefix('"').removesuffix('"'))
        if version is not None:
            yield version


def _quoted(text: str) -> str:
    return f'"{text}"'
