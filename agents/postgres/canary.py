"""What the canary writes to: a role that may do nothing else, and a table of one row.

Made where the other roles are (`roles`). The table does not grow: every write replaces the one row on its page
(a HOT update), so that most of the page is left free for the versions that a long transaction keeps.
"""

from __future__ import annotations

from typing import Final

from psycopg import sql

TABLE: Final = "primacy.canary"
SESSIONS_MAX: Final = 5
"""Writes that wait for the standbys keep their sessions, whatever became of the canary: no more than these."""


def is_table_there() -> str:
    return f"select to_regclass('{TABLE}') is not null"


def role_attributes() -> str:
    return f"login connection limit {SESSIONS_MAX}"


def table_statements(user: str) -> list[str]:
    """`user` may change the number in the row that is there: not read it, not add or remove one."""
    role = sql.Identifier(user).as_string()
    return [
        "create schema if not exists primacy",
        f"create table if not exists {TABLE}"
        " (one boolean primary key default true check (one), n bigint not null) with (fillfactor = 10)",
        "insert into primacy.canary (n) values (0) on conflict do nothing",
        f"grant usage on schema primacy to {role}",
        f"grant update (n) on {TABLE} to {role}",
    ]
