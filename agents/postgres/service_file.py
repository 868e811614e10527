"""The upstream's address, in a service file that every walreceiver reads as it connects (R1, V8).

The settings name only the section (`service=e7`); a file without that section withdraws the address from
every receiver started later, whatever settings its process still holds.
"""

from __future__ import annotations

from agents.core.steps import Stream
from agents.postgres.config import InstanceConfig
from common.assignment import Upstream

_HEAD = "# Written by primacy's agent, which replaces it.\n"

# Seconds, and milliseconds for the last. Whoever waits for an answer sends nothing, so without these a receiver,
# pg_rewind or pg_basebackup would wait for a host that is gone for as long as the kernel's two hours.
_NOTICES_SILENCE = {
    "connect_timeout": "10",
    "keepalives": "1",
    "keepalives_idle": "2",
    "keepalives_interval": "1",
    "keepalives_count": "3",
    "tcp_user_timeout": "5000",
}


def section_name(epoch: int) -> str:
    return f"e{epoch}"


def service_text(config: InstanceConfig, stream: Stream | None) -> str:
    if stream is None:
        return _HEAD
    options = {**address(config, stream.upstream), "connect_timeout": "2"}
    body = "".join(f"{name}={value}\n" for name, value in options.items())
    return f"{_HEAD}[{section_name(stream.epoch)}]\n{body}"


def address(config: InstanceConfig, upstream: Upstream) -> dict[str, str]:
    """How a libpq program of ours reaches an upstream. It ends by itself when that host falls silent."""
    return {
        "host": upstream.host,
        "port": str(upstream.port),
        "user": config.replication_user,
        "passfile": str(config.password_file),
        **_NOTICES_SILENCE,
    }


def read_address(text: str | None) -> str:
    """`host:port` of the section that is there; empty when it was withdrawn."""
    found = dict(line.partition("=")[::2] for line in (text or "").splitlines() if "=" in line)
    return f"{found['host']}:{found['port']}" if "host" in found and "port" in found else ""


def password_text(config: InstanceConfig, password: str) -> str:
    escaped = password.replace("\\", "\\\\").replace(":", "\\:")
    return f"*:*:*:{config.replication_user}:{escaped}\n"
