"""The faults of the bench, each with its aim. Data: `bring` brings them about, `report` compares.

The aims are those of the default profile, for the median of one run; "no interruption" is a matter of the longest
gap of all (`calm`).
"""

from __future__ import annotations

from dataclasses import dataclass

RATIO_AT_MOST = 2.5
"""Outage to floor of the same run, where nothing has to be waited for."""
HOST_LOST_AT_MOST_MS = 1_400.0
CANT_WRITE_AT_MOST_MS = 2_500.0
# Longer than a lease, which is what keeps a primary up that nobody hears.
LONGER_THAN_A_LEASE_S = 7.0
# Longer than a lease of leadership and a primary's together.
ALL_DOWN_S = 15.0


@dataclass(frozen=True, slots=True)
class Aim:
    """One of the two, or neither: then clients must not notice at all."""

    times_floor_max: float | None = None
    ms_max: float | None = None

    @property
    def text(self) -> str:
        if self.times_floor_max is not None:
            return f"{self.times_floor_max:g} x floor"
        return "no interruption" if self.ms_max is None else f"{self.ms_max:.0f} ms"

    def is_met(self, median_ms: float | None, floor_ms: float, interrupted: str) -> bool:
        """`interrupted`: what interrupted the client, empty for nothing; asked only where there is no bound."""
        if self.times_floor_max is None and self.ms_max is None:
            return median_ms is not None and not interrupted
        bound_ms = self.ms_max if self.times_floor_max is None else self.times_floor_max * floor_ms
        return median_ms is not None and bound_ms is not None and median_ms <= bound_ms


@dataclass(frozen=True, slots=True)
class Kind:
    name: str
    aim: Aim
    floor: str = "kill"
    """Which floor its figures are divided by."""
    watched_s: float = 0.0
    """How long the client is watched under a fault that must not move the primary, and as long before it. 0: the
    primary moves."""
    needs_cuts: bool = False
    """Links that can be cut: network namespaces, so root."""
    needs_disks: bool = False
    """A disk of its own for each member: root; played on a fleet of its own, after the others."""

    @property
    def moves(self) -> bool:
        return self.watched_s == 0.0


_TIMES_FLOOR, _NOTHING = Aim(times_floor_max=RATIO_AT_MOST), Aim()
_SILENT, _CANT_WRITE = Aim(ms_max=HOST_LOST_AT_MOST_MS), Aim(ms_max=CANT_WRITE_AT_MOST_MS)

POSTMASTER_KILLED = Kind("postmaster killed", _TIMES_FLOOR)
SWITCHOVER = Kind("switchover", _TIMES_FLOOR, floor="switchover")
HOST_LOST = Kind("host lost", _SILENT)
HOST_ISOLATED = Kind("host isolated", _SILENT, needs_cuts=True)
POSTGRES_FROZEN = Kind("PostgreSQL frozen", _CANT_WRITE)
DISK_STALLED = Kind("disk stalled", _CANT_WRITE, needs_disks=True)
DISK_FULL = Kind("disk full", _CANT_WRITE, needs_disks=True)
AGENT_KILLED = Kind("agent killed", _NOTHING, watched_s=LONGER_THAN_A_LEASE_S)
AGENT_FROZEN = Kind("agent frozen", _NOTHING, watched_s=LONGER_THAN_A_LEASE_S)
LEADER_KILLED = Kind("leader killed", _NOTHING, watched_s=LONGER_THAN_A_LEASE_S)
ALL_CONTROL_DOWN = Kind("all control nodes and etcd down", _NOTHING, watched_s=ALL_DOWN_S)

KINDS = (
    POSTMASTER_KILLED,
    SWITCHOVER,
    HOST_LOST,
    HOST_ISOLATED,
    POSTGRES_FROZEN,
    DISK_STALLED,
    DISK_FULL,
    AGENT_KILLED,
    AGENT_FROZEN,
    LEADER_KILLED,
    ALL_CONTROL_DOWN,
)


_BY_NAME = {kind.name: kind for kind in KINDS}


def kind_of(name: str) -> Kind:
    """KeyError: no fault is called that."""
    return _BY_NAME[name]


def chosen(words: list[str]) -> tuple[Kind, ...]:
    """Those of these names, or whose names have one of these words; all without any. LookupError: a word of none."""
    for word in words:
        if not any(word in kind.name for kind in KINDS):
            raise LookupError(
                f"no fault is called {word!r}; there are: {', '.join(kind.name for kind in KINDS)}"
            )
    loose = [word for word in words if word not in _BY_NAME]
    return tuple(
        kind for kind in KINDS if not words or kind.name in words or any(word in kind.name for word in loose)
    )
