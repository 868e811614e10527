"""Makes one standby fall behind in replay: its startup process stands still, while its receiver goes on.

So it acknowledges commits as the others do, and can be a candidate; but before it could serve, or take its place
behind a new primary, it has to replay what was written meanwhile. It goes on right after the fault, so what is
measured is catching up, not standing still.
"""

from __future__ import annotations

import random
import signal
import time
from dataclasses import dataclass

from deploy.bench.filling import create, insert
from deploy.lab.lab import LabFailed
from deploy.lab.roles import Role
from deploy.lab.witnessed import Witnessed

TABLE = "backlog"
WRITTEN_WITHIN_S = 120.0
_BACKLOG = "SELECT pg_wal_lsn_diff(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())::bigint"
_RECEIVED = "SELECT pg_last_wal_receive_lsn() >= '{}'::pg_lsn"


@dataclass(frozen=True, slots=True)
class Behind:
    member: str
    backlog_mib: float


def fall_behind(cluster: Witnessed, primary: str, mib: int, dice: random.Random) -> Behind:
    """One of the standbys; returns once it has received all of it. LabFailed: it does not."""
    member = dice.choice([name for name in cluster.members if name != primary])
    cluster.sql(primary, f"DROP TABLE IF EXISTS {TABLE}")
    cluster.lab.faults.signal_process(cluster.host_of(member), Role.STARTUP, signal.SIGSTOP)
    cluster.sql(primary, create(TABLE))
    cluster.sql(primary, insert(TABLE, mib), within_s=WRITTEN_WITHIN_S)
    written = cluster.sql(primary, "SELECT pg_current_wal_flush_lsn()").strip()
    ends_at_s = time.monotonic() + WRITTEN_WITHIN_S
    while cluster.sql(member, _RECEIVED.format(written)).strip() != "t":
        if time.monotonic() > ends_at_s:
            raise LabFailed(f"{member} has not received {written} after {WRITTEN_WITHIN_S:.0f} s")
        time.sleep(0.1)
    return Behind(member, int(cluster.sql(member, _BACKLOG)) / (1 << 20))


def go_on(cluster: Witnessed, behind: Behind) -> None:
    cluster.lab.faults.thaw_host(cluster.host_of(behind.member))
