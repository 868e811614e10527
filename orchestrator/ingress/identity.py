"""Who is at the other end of a gRPC call: what its certificate says, as URI or common name.

`agent:<cluster>/<member>`, `control:<name>` or `operator:<name>`. That the certificate is signed by our
authority was checked by TLS; nothing here looks at addresses.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    AGENT = "agent"
    CONTROL = "control"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class Identity:
    kind: Kind
    name: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"


def identity_of(auth: Mapping[str, Iterable[bytes]]) -> Identity | None:
    """`auth` is `context.auth_context()`. None: a certificate that names nobody of ours, or several."""
    found = {
        identity
        for key in ("x509_uri", "x509_subject_alternative_name", "x509_common_name")
        for value in auth.get(key, ())
        if (identity := _parse(value)) is not None
    }
    return found.pop() if len(found) == 1 else None


def of_call(context: Any) -> Identity | None:
    """Of a servicer's context."""
    return identity_of(context.auth_context())


def _parse(value: bytes) -> Identity | None:
    kind, separator, name = value.decode("utf-8", "replace").partition(":")
    if not separator or not name or kind not in set(Kind):
        return None
    return Identity(Kind(kind), name)
