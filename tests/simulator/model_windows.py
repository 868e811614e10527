"""Which beats of each member are new to a control node: the production window, one for each member and way."""

from __future__ import annotations

from common.datagram import Replayed
from common.replay_window import ReplayWindow
from orchestrator.core.events import Beat


class Windows:
    def __init__(self) -> None:
        self._by_member: dict[str, ReplayWindow] = {}
        self._boots: dict[str, int] = {}

    def boot_of(self, beat: Beat) -> int:
        """Of its sender's process that was accepted last; 0: none yet."""
        return self._boots.get(beat.member, 0)

    def accept(self, beat: Beat) -> bool:
        window = self._by_member.get(beat.member)
        if window is None:
            window = self._by_member[beat.member] = ReplayWindow()
        try:
            window.accept(beat)
        except Replayed:
            return False
        self._boots[beat.member] = beat.boot_id
        return True
