"""JSON of the shared vocabulary, for etcd, the agents' stream, and the agents' disk.

Unknown fields are ignored, so that a newer peer may say more; a missing or mistyped one is an
error that names it.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from common.lsn import Lsn

T = TypeVar("T")


def _encode_other(value: Any) -> Any:
    if isinstance(value, Lsn):
        return str(value)
    raise NotImplementedError(f"cannot encode {type(value)!r}")


def _decode_other(wanted: type, value: Any) -> Any:
    if wanted is Lsn:
        return Lsn.parse(value)
    raise NotImplementedError(f"cannot decode {wanted!r}")


def encode(value: Any) -> bytes:
    return msgspec.json.encode(value, enc_hook=_encode_other, order="sorted")


def decode(data: bytes, wanted: type[T]) -> T:
    """Raise ValueError, naming the field, when `data` is not a `wanted`."""
    try:
        return msgspec.json.decode(data, type=wanted, dec_hook=_decode_other)
    except msgspec.DecodeError as error:  # ValidationError is one
        raise ValueError(f"not a valid {wanted.__name__}: {error}") from error
