"""What the agent must know of its PostgreSQL instance ([postgres] in agent.toml).

The agent's configuration is loaded and checked elsewhere; here are the values, and the paths that follow
from them. Everything that must survive a clone (settings, hba, service file) lies in the state directory,
because clones and rewinds copy the source's configuration files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from common.ids import ClusterName, MemberName
from common.resilience import POLICIES


@dataclass(frozen=True, slots=True)
class RunAs:
    """Only for tests and the lab, when they run as root: agents themselves never do."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class InstanceConfig:
    cluster: ClusterName
    member: MemberName
    bin_directory: Path
    data_directory: Path
    state_directory: Path
    socket_directory: Path
    """Short: with the socket's name under 90 bytes."""
    listen_addresses: str
    port: int
    superuser: str = "postgres"
    replication_user: str = "primacy_replication"
    replication_password_file: Path = Path("/etc/primacy/replication.password")
    probe_user: str = "primacy_probe"
    probe_password_file: Path = Path("/etc/primacy/probe.password")
    canary_user: str = "primacy_canary"
    canary_password_file: Path | None = None
    """None: this member makes no role and no table for the canary."""
    hba: tuple[str, ...] = ()
    """pg_hba.conf lines for clients, in force only while the member is open."""
    settings: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """The operator's own settings; the agent's win."""
    untested_version: bool = False
    run_as: RunAs | None = None
    sql_within_ms: int = POLICIES["agent.sql"].timeout_ms
    """How long one SQL statement of a look may take before PostgreSQL counts as not answering."""
    disk_within_ms: int = POLICIES["agent.disk"].timeout_ms
    """How long a durable write may take before the step fails."""
    start_within_ms: int = 600_000
    """Crash recovery of much WAL takes long; a start without progress is given up far earlier."""
    start_silent_ms: int = 15_000
    """A start that shows no progress for this long is given up."""
    clone_silent_ms: int = 300_000
    """A clone (or an initdb) that stands still for this long is ended. A source may make a checkpoint and count its
    files for minutes before it sends the first byte."""
    rewind_silent_ms: int = 120_000
    """The same for a rewind, whose source has made its checkpoint before; only the list of its files takes long."""
    die_within_ms: int = 1_000
    """After this an immediate shutdown is enforced with SIGKILL."""
    oldest_wal_every_ms: int = 5_000
    """How often a primary looks for the oldest WAL that it has."""

    @property
    def settings_file(self) -> Path:
        return self.state_directory / "primacy.conf"

    @property
    def service_file(self) -> Path:
        return self.state_directory / "pg_service.conf"

    @property
    def hba_file(self) -> Path:
        return self.state_directory / "pg_hba.conf"

    @property
    def ident_file(self) -> Path:
        return self.state_directory / "pg_ident.conf"

    @property
    def password_file(self) -> Path:
        """In libpq's form, for the walreceiver, pg_rewind and pg_basebackup."""
        return self.state_directory / "replication.pgpass"

    @property
    def log_file(self) -> Path:
        return self.state_directory / "postgresql.log"

    @property
    def wal_directory(self) -> Path:
        return self.data_directory / "pg_wal"

    @property
    def title(self) -> str:
        """cluster_name, which stands in the titles of all processes."""
        return f"{self.cluster}/{self.member}"
