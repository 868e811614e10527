"""The operator's file of a cluster (TOML) as a `ClusterSpec`; `deploy/examples/cluster.toml` is one.

All mistakes are found at once, each with file, line, key, value and remedy. What a single value must look
like is checked here; what the values mean together is the specification's own (`ClusterSpec.mistakes`).
"""

from __future__ import annotations

import ipaddress
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.errors import BadConfig
from common.ids import ClusterName, MemberName
from common.toml_reader import did_you_mean
from orchestrator.core.spec import ClusterSpec, MemberSpec

STRING, NUMBER, TRUTH, ADDRESSES = "a text in quotes", "a whole number", "true or false", "addresses"

CLUSTER_KEYS: Mapping[str, str] = {
    "name": STRING,
    "zone": STRING,
    "durability": STRING,
    "k": NUMBER,
    "profile": STRING,
    "when_last_voter_lost": STRING,
    "canary": TRUTH,
}
MEMBER_KEYS: Mapping[str, str] = {
    "name": STRING,
    "host": STRING,
    "address": ADDRESSES,
    "port": NUMBER,
    "owner": STRING,
    "site": STRING,
    "priority": NUMBER,
    "nofailover": TRUTH,
}
EXAMPLES: Mapping[str, str] = {
    "name": '"shop"',
    "zone": '"db.example."',
    "host": '"db1"',
    "address": '"10.77.3.1"',
    "port": "5432",
    "k": "1",
    "canary": "true",
    "priority": "100",
    "nofailover": "false",
}


def read(file: Path) -> ClusterSpec:
    """Raise BadConfig with every mistake."""
    try:
        text = file.read_bytes().decode()
    except OSError as error:
        raise BadConfig(
            [f"{file}: can't be read: {error.strerror}; give the path of a cluster's file"]
        ) from error
    except UnicodeDecodeError as error:
        raise BadConfig([f"{file}: is not UTF-8 text (byte {error.start}); save it as UTF-8"]) from error
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadConfig([f"{file}: is not TOML: {error}"]) from error
    reading = _Reading(file, text)
    spec = reading.cluster(document)
    if reading.mistakes:
        raise BadConfig(reading.mistakes)
    return spec


class _Reading:
    """Collects mistakes while it goes; a value that is wrong is replaced, so that the rest can be read."""

    def __init__(self, file: Path, text: str) -> None:
        self._file, self._lines = file, _Lines(text)
        self._found: list[tuple[int, str]] = []
        self._complained: set[tuple[int | None, str]] = set()

    @property
    def mistakes(self) -> list[str]:
        """From the top of the file to its end."""
        return [mistake for _, mistake in sorted(self._found, key=lambda found: found[0])]

    def cluster(self, document: Mapping[str, Any]) -> ClusterSpec:
        members = document.get("member", [])
        if not isinstance(members, list) or not all(isinstance(m, dict) for m in members):
            self._complain(
                None, "member", "must be tables: write [[member]], in double brackets, before each member"
            )
            members = []
        self._unknown_keys(document, (*CLUSTER_KEYS, "member"), None)
        values = self._values(document, CLUSTER_KEYS, None, required=("name", "zone"))
        spec = ClusterSpec(
            name=ClusterName(values.pop("name", "unknown")),
            zone=values.pop("zone", "unknown."),
            members=tuple(self._member(number, table) for number, table in enumerate(members)),
            **values,
        )
        for mistake in spec.mistakes():
            self._adopt(spec, mistake)
        return spec

    def _member(self, number: int, table: Mapping[str, Any]) -> MemberSpec:
        self._unknown_keys(table, tuple(MEMBER_KEYS), number)
        values = self._values(table, MEMBER_KEYS, number, required=("name", "host", "address"))
        return MemberSpec(
            name=MemberName(values.pop("name", f"number{number + 1}")),
            host=values.pop("host", f"(unknown {number + 1})"),
            addresses=values.pop("address", ()),
            **values,
        )

    def _values(
        self,
        table: Mapping[str, Any],
        kinds: Mapping[str, str],
        number: int | None,
        *,
        required: tuple[str, ...],
    ) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, kind in kinds.items():
            if key not in table:
                if key in required:
                    self._complain(
                        number, key, f"is missing; add a line such as {key} = {_example(number, key)}"
                    )
                continue
            value = self._addresses(number, table[key]) if kind == ADDRESSES else table[key]
            if value is None:
                continue
            if not _is_a(value, kind):
                example = _example(number, key)
                self._complain(
                    number, key, f"must be {kind}" + (f", such as {example}" if example else ""), value=value
                )
            elif key in required and value == "":
                remedy = f"must not be empty; write for instance {_example(number, key)}"
                self._complain(number, key, remedy, value=value)
            else:
                found[key] = value
        return found

    def _addresses(self, number: int | None, value: Any) -> tuple[str, ...] | None:
        """A text or a list of texts; None when it was complained about."""
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
            self._complain(
                number, "address", "must be an address, or a list of addresses (A and AAAA)", value=value
            )
            return None
        good = True
        for text in texts:
            try:
                ipaddress.ip_address(text)
            except ValueError:
                good = False
                self._complain(
                    number,
                    "address",
                    "must be an IPv4 or IPv6 address, for it is published in DNS",
                    value=text,
                )
        return tuple(texts) if good else None

    def _unknown_keys(self, table: Mapping[str, Any], known: tuple[str, ...], number: int | None) -> None:
        for key, value in table.items():
            if key not in known:
                near = did_you_mean(key, known) or f"; known are {', '.join(known)}"
                what = "section" if isinstance(value, dict) else "key"
                said = None if isinstance(value, (dict, list)) else value
                self._complain(number, key, f"is not a known {what}{near}", value=said)

    def _adopt(self, spec: ClusterSpec, mistake: str) -> None:
        """A mistake of the whole, unless the same place was complained of already."""
        number, key = _place_of(spec, mistake)
        if (number, key) not in self._complained:
            self._note(number, key, mistake)

    def _complain(self, number: int | None, key: str, remedy: str, *, value: Any = None) -> None:
        self._complained.add((number, key))
        whose = "" if number is None else f"member {self._lines.name_of(number)}: "
        said = "" if value is None else f" = {_toml(value)}"
        self._note(number, key, f"{whose}{key}{said}: {remedy}")

    def _note(self, number: int | None, key: str, mistake: str) -> None:
        line = self._lines.of(number, key)
        place = str(self._file) if line is None else f"{self._file}:{line}"
        self._found.append((line or 0, f"{place}: {mistake}"))


def _example(number: int | None, key: str) -> str:
    return '"a"' if key == "name" and number is not None else EXAMPLES.get(key, "")


def _is_a(value: Any, kind: str) -> bool:
    match kind:
        case "a text in quotes":
            return isinstance(value, str)
        case "a whole number":
            return isinstance(value, int) and not isinstance(value, bool)
        case "true or false":
            return isinstance(value, bool)
        case _:
            return isinstance(value, tuple)


def _toml(value: Any) -> str:
    """As the operator wrote it, near enough to be found again."""
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


def _place_of(spec: ClusterSpec, mistake: str) -> tuple[int | None, str]:
    """Which member's key one of the specification's own mistakes is about."""
    found = re.match(r"^member ([^:]+): (\w+)", mistake)
    if found is not None:
        numbers = [number for number, m in enumerate(spec.members) if m.name == found[1]]
        key = found[2] if found[2] in MEMBER_KEYS else "address"
        if "at least one address" in mistake:
            numbers = [number for number in numbers if not spec.members[number].addresses]
        # A name that stands twice: the later one is the one complained of.
        return (numbers[-1] if numbers else None, key)
    found = re.match(r"^member\.(\w+): .*?'([^']*)'", mistake)
    if found is not None:
        numbers = [number for number, m in enumerate(spec.members) if m.name == found[2]]
        return (numbers[-1] if numbers else None, found[1])
    return (None, mistake.split(":", 1)[0])


class _Lines:
    """Where keys stand. tomllib doesn't say, so this looks for them the way they are usually written;
    a key that is written otherwise is named without its line."""

    def __init__(self, text: str) -> None:
        self._at: dict[tuple[int | None, str], int] = {}
        self._names: dict[int, str] = {}
        members, inside, foreign = 0, None, False
        for line_number, line in enumerate(text.splitlines(), start=1):
            if re.match(r"^\s*\[\[\s*member\s*\]\]", line):
                inside, foreign, members = members, False, members + 1
                self._at[(inside, "")] = line_number
            elif re.match(r"^\s*\[", line):
                foreign = True
                header = line.strip().strip("[]").split("]")[0].strip()
                self._at.setdefault((None, header), line_number)
            elif not foreign and (found := re.match(r"^\s*\"?([\w-]+)\"?\s*=\s*(.*)$", line)):
                self._at.setdefault((inside, found[1]), line_number)
                if inside is not None and found[1] == "name":
                    self._names[inside] = found[2].split("#")[0].strip().strip("\"'")

    def name_of(self, number: int) -> str:
        return self._names.get(number) or f"number {number + 1}"

    def of(self, number: int | None, key: str) -> int | None:
        """Of a missing key: where its table begins."""
        line = self._at.get((number, key))
        return self._at.get((number, "")) if line is None and number is not None else line
