"""Under which circumstances a bench runs, and what they are called. Pure.

Two runs under the same circumstances can be compared; the newer one takes the place of the older in
docs/performance.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MEMBERS = ("a", "b", "c", "d", "e")
# A member's WAL that is kept, what the next checkpoint has yet to remove, and everything else beside the data.
BESIDE_THE_DATA_GIB = 3.0
_NUMBERS = {1: "One", 2: "Two", 3: "Three", 4: "Four", 5: "Five"}


@dataclass(frozen=True, slots=True)
class Circumstances:
    members: int = 3
    data_gib: float = 0.0
    """In each member's data directory, WAL not counted, before the first fault."""
    behind_mib: int = 0
    """So much WAL one standby has received and not replayed when a fault comes."""
    major: int = 0
    """Of PostgreSQL; 0: not known."""
    profile: str = "default"

    @property
    def title(self) -> str:
        parts = [f"{_NUMBERS.get(self.members, str(self.members))} members"]
        if self.data_gib:
            parts.append(f"{self.data_gib:g} GiB of data")
        if self.behind_mib:
            parts.append(f"one standby {self.behind_mib} MiB behind in replay")
        if self.major:
            parts.append(f"PostgreSQL {self.major}")
        if self.profile != "default":
            parts.append(f"profile `{self.profile}`")
        return ", ".join(parts)

    @property
    def how_special(self) -> tuple[int, str]:
        """For sorting: the plain ones first."""
        plain = Circumstances(major=self.major)
        differs = [field for field in ("members", "data_gib", "behind_mib", "profile")
                   if getattr(self, field) != getattr(plain, field)]  # fmt: skip
        return len(differs), self.title

    @property
    def disk_gib(self) -> float:
        """What the members need at most, all together. The floor's servers need no more, and not meanwhile."""
        backlog_gib = 2 * self.behind_mib / 1024
        return max(self.members, 3) * (self.data_gib + BESIDE_THE_DATA_GIB + backlog_gib)


def circumstances_of(found: Mapping[str, Any]) -> Circumstances:
    """Of evidence. The first runs (schema 1) did not write them down: three members without data or backlog."""
    setting = found["setting"]
    profiles = {profile for one in found["figures"] for profile in one["profiles"]}
    return Circumstances(
        members=int(setting.get("members", 3)),
        data_gib=float(setting.get("data_gib", 0.0)),
        behind_mib=int(setting.get("behind_mib", 0)),
        major=_major(str(setting["postgres"])),
        profile=", ".join(sorted(profiles)) or str(setting.get("profile", "default")),
    )


def _major(postgres: str) -> int:
    """`18.6`, or in the first runs the folder of the programs."""
    words = (word.split(".")[0] for word in postgres.split("/"))
    return next((int(word) for word in words if word.isdigit()), 0)
