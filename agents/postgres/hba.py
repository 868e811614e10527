"""Who may connect: pg_hba.conf and pg_ident.conf, both the agent's own, in the state directory.

PostgreSQL 15 can't include a file in pg_hba.conf, so the whole file is replaced. *Closed* lets in the agent
(the superuser over the local socket, proved by the kernel as the operating system's user: `peer`), the probe
and the replication role; *open* these, the canary, which is a client like any other, and the operator's lines.
The map names the agent's own user, so the socket is of no use to any other one, whatever the mode of its
directory.
"""

from __future__ import annotations

import os
import pwd

from agents.postgres.config import InstanceConfig
from common.errors import BadConfig

_MAP = "primacy"
_HEAD = "# Written by primacy's agent, which replaces it; put your lines into hba of agent.toml."
_OPEN = "# open"
_CLOSED = "# closed"


def hba_text(config: InstanceConfig, *, closed: bool) -> str:
    lines = [
        _HEAD,
        _CLOSED if closed else _OPEN,
        f'local all "{config.superuser}" peer map={_MAP}',
        f'host replication "{config.replication_user}" all scram-sha-256',
        f'host postgres "{config.replication_user}" all scram-sha-256',
        f'host postgres "{config.probe_user}" all scram-sha-256',
    ]
    if not closed:
        if config.canary_password_file is not None:
            lines.append(f'host postgres "{config.canary_user}" all scram-sha-256')
        lines += config.hba
    return "\n".join(lines) + "\n"


def lets_clients_in(text: str | None) -> bool:
    return text is not None and _OPEN in text.splitlines()[:2]


def ident_text(config: InstanceConfig) -> str:
    uids = [os.geteuid()] if config.run_as is None else [os.geteuid(), config.run_as.uid]
    names = [_user_name(uid) for uid in dict.fromkeys(uids)]
    return "".join(f'{_MAP} "{name}" "{config.superuser}"\n' for name in names)


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        raise BadConfig([f"the agent runs as user id {uid}, which has no name: give it one"]) from None
