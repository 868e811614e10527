"""Data by the gigabyte, and WAL by the megabyte: rows that are as large on disk as they say.

A row has nearly 2 kB, four to a page, below what would be compressed or moved elsewhere (TOAST). Autovacuum leaves
the tables alone: it would work beside the faults, at another moment in each round.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

ROWS_A_MIB = 512
CHUNK_MIB = 128
TABLE_MIB = 1_024
_FULL_AT_MOST_CHUNKS_MORE = 40
Sql = Callable[[str], object]
Say = Callable[[str], None]


def create(table: str) -> str:
    return f"CREATE TABLE {table} (n bigint, filler text) WITH (autovacuum_enabled = off)"


def insert(table: str, mib: int) -> str:
    """32 characters of md5, sixty times: 1,920 bytes and a header."""
    return (
        f"INSERT INTO {table} SELECT n, repeat(md5(n::text), 60)"
        f" FROM generate_series(1, {mib * ROWS_A_MIB}) AS n"
    )


def chunks() -> Iterator[str]:
    """Statements, each of which adds CHUNK_MIB; a new table after every TABLE_MIB. Without end."""
    number = 0
    while True:
        number += 1
        table = f"filler_{number:03d}"
        yield create(table)
        for _ in range(TABLE_MIB // CHUNK_MIB):
            yield insert(table, CHUNK_MIB)


def fill(sql: Sql, data_directory: Path, gib: float, say: Say) -> None:
    """Until the data directory has that much, its WAL not counted. RuntimeError: it does not grow."""
    wanted = int(gib * 1024**3)
    told_gib = 0
    limit = int(gib * 1024 / CHUNK_MIB * 1.3) + _FULL_AT_MOST_CHUNKS_MORE
    for done, statement in enumerate(chunks()):
        there = bytes_of_data(data_directory)
        if there >= wanted:
            break
        if done > limit:
            raise RuntimeError(f"{there} bytes after {done} statements: it does not grow as it should")
        if there >> 30 > told_gib:
            told_gib = there >> 30
            say(f"data: {told_gib} of {gib:g} GiB")
        sql(statement)
    sql("CHECKPOINT")


def bytes_of_data(data_directory: Path) -> int:
    """What it takes on disk, `pg_wal` left out. Files that vanish meanwhile count as nothing."""
    total = 0
    for folder, below, names in os.walk(data_directory):
        if folder == str(data_directory) and "pg_wal" in below:
            below.remove("pg_wal")
        for name in names:
            try:
                total += Path(folder, name).lstat().st_blocks * 512
            except FileNotFoundError:
                continue
    return total
