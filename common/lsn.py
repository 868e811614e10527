"""A position in the write-ahead log (PostgreSQL manual, section 8.20, pg_lsn).

Pure. The name of a variable says how the position was measured: `flushed_lsn`,
`replayed_lsn`, `insert_lsn`, `end_of_wal_lsn`.
"""

from __future__ import annotations

import re

_FORM = re.compile(r"^([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})$")


class Lsn(int):
    """Bytes since the start of the log; prints and parses as PostgreSQL does (`16/B374D848`)."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Lsn:
        """Raise ValueError, naming the text, when it is not of the form `X/X`."""
        found = _FORM.match(text)
        if found is None:
            raise ValueError(f"not a WAL position: {text!r} (expected the form 16/B374D848)")
        return cls((int(found[1], 16) << 32) | int(found[2], 16))

    def __str__(self) -> str:
        return f"{self >> 32:X}/{self & 0xFFFFFFFF:X}"

    def __repr__(self) -> str:
        return f"Lsn({self})"

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)


ZERO = Lsn(0)
