"""What a row of the catalogue is: a fault by name, what Primacy must do about it, and how long clients may wait.

Data, but for `happen`, which brings the fault about with the lab's calls. The tables are in `faults_*.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from orchestrator.core.diagnose import Diagnosis
from tests.chaos.scene import Scene

# The reference client's deadline for a write: a longer wait makes it connect anew.
NO_INTERRUPTION_MS = 300
# libpq waits 2 s for each silent host of its string, and may come round once before the new primary is there.
MULTIHOST_MORE_MS = 5_000


class Then(Enum):
    """What must have become of the primary."""

    STAYS = "stays"  # the same member in the same epoch
    MOVES = "moves"  # another member, or the same one in a later epoch
    EITHER = "stays or moves"


@dataclass(frozen=True, slots=True)
class Scenario:
    name: str
    must: str
    then: Then
    outage_ms_max: int | None
    """Through DNS, by the reference client. None: as long as the fault lasts, which `happen` ends and waits out."""
    happen: Callable[[Scene], None]
    """Brings the fault, waits until what must come has come. What it leaves broken is mended after it."""
    diagnosed: tuple[Diagnosis, ...] = ()
    """What it is called: one of them must be said, and no other but those of a moment (`words.IN_PASSING`). Empty where
    nothing is wrong with the primary: then nothing else may be said of it."""
    also_diagnosed: tuple[Diagnosis, ...] = ()
    """What is true as well, and need not be said."""
    is_explained: bool = True
    """False where several faults at once leave no single word to expect."""
    history: tuple[str, ...] = ()
    """Patterns, each of which `primacy history` must have of this time: it says what happened."""
    status: tuple[str, ...] = ()
    """The same for the statuses that were pushed meanwhile."""
    never_said: tuple[str, ...] = ()
    """Patterns that neither may have."""
    multihost_ms_max: int | None = None
    """None: what DNS may take and MULTIHOST_MORE_MS."""
    whole_within_s: float = 90.0
    """After everything was mended."""
    in_sample: bool = False
    """Also run by `make test`."""
    covers: tuple[str, ...] = ()
    """Scenarios and traps of docs/scenarios.md."""
    only_alone: str = ""
    """Why no other fault may be in force at the same time (`make soak`); empty where one may."""
    hurts_the_canary: bool = False
    """Its way to the primary, or what it writes, is another one then than the clients': what it says is compared with
    nobody."""
    hurts_the_guard: bool = False
    """The agent and the guard stand in for each other. Where both are hurt the bound on stale reads is lost
    (protocol.md, "Staying up")."""

    @property
    def is_uninterrupted(self) -> bool:
        return self.outage_ms_max is not None and self.outage_ms_max <= NO_INTERRUPTION_MS

    def multihost_limit_ms(self) -> int | None:
        if self.multihost_ms_max is not None:
            return self.multihost_ms_max
        if self.outage_ms_max is None:
            return None
        return self.outage_ms_max + (0 if self.is_uninterrupted else MULTIHOST_MORE_MS)
