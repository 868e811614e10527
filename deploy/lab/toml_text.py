"""Writes TOML: only what the lab's configuration files need (texts, numbers, truths, lists, tables)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

Value = str | int | bool | Sequence[str] | Mapping[str, "Value"] | Sequence[Mapping[str, "Value"]]


def toml_text(document: Mapping[str, Value]) -> str:
    return "\n".join(_table(document, ())) + "\n"


def _table(table: Mapping[str, Value], path: tuple[str, ...]) -> Iterator[str]:
    """Plain values first: in TOML they would otherwise belong to the table before them."""
    for key, value in table.items():
        if not _is_table(value) and not _is_tables(value):
            yield f"{key} = {_plain(value)}"
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield ""
            yield f"[{'.'.join((*path, key))}]"
            yield from _table(value, (*path, key))
        elif _is_tables(value):
            assert isinstance(value, Sequence)
            for entry in value:
                assert isinstance(entry, Mapping)
                yield ""
                yield f"[[{'.'.join((*path, key))}]]"
                yield from _table(entry, (*path, key))


def _is_table(value: Value) -> bool:
    return isinstance(value, Mapping)


def _is_tables(value: Value) -> bool:
    return isinstance(value, Sequence) and bool(value) and isinstance(value[0], Mapping)


def _plain(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return json.dumps(value)
    return "[" + ", ".join(json.dumps(entry) for entry in value) + "]"
