"""The roles that Primacy needs, made at the first start as primary, and put right at every later one.

In local commits: nothing here waits for a standby. Passwords are sent as SCRAM verifiers, so that they never
appear in a log.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re

from psycopg import sql

from agents.postgres import canary
from agents.postgres.own_files import read_password
from agents.postgres.server import Server

_ITERATIONS = 4096
"""As RFC 7677, section 4 says there should be at least, and as PostgreSQL does."""
_ITERATIONS_OF_A_DRAWN_ONE = 16
_DRAWN = re.compile(r"[0-9a-f]{32,}", re.IGNORECASE)
"""What `openssl rand -hex 32` prints, or half of it: drawn, not thought of. Whoever holds its verifier can't guess 128
bits, however cheap a guess is. And a standby's receiver pays for each iteration while clients wait."""
_ROLES = "select rolname, rolpassword, rolreplication, rolcanlogin from pg_authid where rolname = any(%s)"
_REWIND_FUNCTIONS = (
    "pg_ls_dir(text, boolean, boolean)",
    "pg_stat_file(text, boolean)",
    "pg_read_binary_file(text)",
    "pg_read_binary_file(text, bigint, bigint, boolean)",
)
"""What pg_rewind needs on its source (PostgreSQL manual, pg_rewind, Notes)."""


async def ensure_roles(server: Server, salt: bytes) -> None:
    config, session = server.config, server.control
    within_ms = config.sql_within_ms
    replication = await server.read(
        "reading a password", lambda: read_password("replication_password_file", config)
    )
    probe = await server.read("reading a password", lambda: read_password("probe_password_file", config))
    wanted = [
        (config.replication_user, replication, "login replication"),
        (config.probe_user, probe, "login"),
    ]
    if config.canary_password_file is not None:
        password = await server.read(
            "reading a password", lambda: read_password("canary_password_file", config)
        )
        wanted.append((config.canary_user, password, canary.role_attributes()))
    names = [name for name, _, _ in wanted]
    there = {row[0]: row for row in await session.rows(_ROLES, (names,), within_ms=within_ms)}
    statements = []
    for name, password, attributes in wanted:
        known = there.get(name)
        if known is not None and known[3] and fits(known[1] or "", password):
            continue
        verb = "create" if known is None else "alter"
        statements.append(
            f"{verb} role {_name(name)} {attributes} password {_text(verifier(password, salt))}"
        )
    if config.replication_user not in there:
        statements.append(f"grant pg_checkpoint to {_name(config.replication_user)}")
        functions = ", ".join(f"pg_catalog.{function}" for function in _REWIND_FUNCTIONS)
        statements.append(f"grant execute on function {functions} to {_name(config.replication_user)}")
    if config.probe_user not in there:
        statements.append(f"grant pg_monitor to {_name(config.probe_user)}")
    if config.canary_password_file is not None:
        (table_is_there,) = await session.row(canary.is_table_there(), within_ms=within_ms)
        if not table_is_there or config.canary_user not in there:
            statements += canary.table_statements(config.canary_user)
    if statements:
        await session.run("; ".join(["begin", *statements, "commit"]), within_ms=10 * within_ms)


def verifier(password: str, salt: bytes) -> str:
    """As PostgreSQL stores it (RFC 5803)."""
    iterations = _iterations(password)
    client, server = _keys(password, salt, iterations)
    stored = base64.b64encode(hashlib.sha256(client).digest()).decode()
    server_key = base64.b64encode(server).decode()
    return f"SCRAM-SHA-256${iterations}:{base64.b64encode(salt).decode()}${stored}:{server_key}"


def fits(stored: str, password: str) -> bool:
    """Whether a stored verifier is of this password, with as many iterations as it wants."""
    try:
        _, rest, keys = stored.split("$")
        iterations, salt = rest.split(":")
        if int(iterations) != _iterations(password):
            return False
        wanted = base64.b64decode(keys.split(":")[1])
        _, server = _keys(password, base64.b64decode(salt), int(iterations))
    except ValueError:
        return False
    return hmac.compare_digest(server, wanted)


def _iterations(password: str) -> int:
    return _ITERATIONS_OF_A_DRAWN_ONE if _DRAWN.fullmatch(password) else _ITERATIONS


def _keys(password: str, salt: bytes, iterations: int) -> tuple[bytes, bytes]:
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    return hmac.digest(salted, b"Client Key", "sha256"), hmac.digest(salted, b"Server Key", "sha256")


def _name(text: str) -> str:
    return sql.Identifier(text).as_string()


def _text(text: str) -> str:
    return sql.Literal(text).as_string()
