"""Which beats of one member are new, and which were recorded by somebody and sent again (interfaces.md, "UDP frame").

Pure. It looks at boot id and sequence number alone, of a datagram whose tag was checked.
"""

from __future__ import annotations

from collections import deque
from typing import Final, Protocol

from common.datagram import Replayed

REPLAY_WINDOW: Final = 64
LEFT_BOOTS_KEPT: Final = 32


class Numbered(Protocol):
    """What the window looks at: a header, or what was decoded from one."""

    @property
    def boot_id(self) -> int: ...
    @property
    def sequence(self) -> int: ...


class ReplayWindow:
    """Which beats of one member are new: 64 sequence numbers behind the highest of the present boot id.

    A boot id that was never seen takes over at once, since a restarted agent must be heard at once; the one
    that it replaces (and the 31 before that) is never accepted again. So whoever recorded beats can repeat
    those of an earlier boot only to a control node that has forgotten it, and only until the agent's own
    next beat; it delays a suspicion by that much, and a beat's acknowledgement is worth nothing to anybody
    but the process that drew its boot id.
    """

    __slots__ = ("_boot_id", "_highest", "_left", "_seen")

    def __init__(self) -> None:
        self._boot_id: int | None = None
        self._highest = 0
        self._seen = 0  # bit n: highest - n was seen
        self._left: deque[int] = deque(maxlen=LEFT_BOOTS_KEPT)

    def accept(self, header: Numbered) -> None:
        """Raise Replayed. Call it only with a header whose tag was checked."""
        self.accept_numbers(header.boot_id, header.sequence)

    def accept_numbers(self, boot_id: int, sequence: int) -> None:
        """As `accept`, of one that was not decoded."""
        if boot_id != self._boot_id:
            if boot_id in self._left:
                raise Replayed("of a process that was replaced")
            if self._boot_id is not None:
                self._left.append(self._boot_id)
            self._boot_id, self._highest, self._seen = boot_id, sequence, 1
            return
        ahead = sequence - self._highest
        if ahead > 0:
            shifted = self._seen << min(ahead, REPLAY_WINDOW)  # a shift by 2**64 would not end
            self._seen = (shifted | 1) & ((1 << REPLAY_WINDOW) - 1)
            self._highest = sequence
        elif ahead <= -REPLAY_WINDOW or self._seen >> -ahead & 1:
            raise Replayed(f"sequence {sequence}, the highest is {self._highest}")
        else:
            self._seen |= 1 << -ahead
