"""One control node's part in the election, as orchestrator/etcd/election.py plays it, in virtual time.

Who leads is decided by etcd; until when it may be believed, by the node's own clock: it lets go when its lease
may have run out, whatever any answer says or fails to say. Its word reaches the loop as one of many things that
happen: a node that was frozen may begin a turn before it hears that it does not lead any more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from common.timebase import Instant
from tests.simulator.model_etcd import LEASE_US

if TYPE_CHECKING:
    from tests.simulator.model_control import Control

_MARGIN_US = 300_000
_BEAT_EVERY_US = 500_000
_PROVE_EVERY_US = 300_000
_RETRY_US = 200_000
_LISTED_EVERY_US = 3_000_000
"""A watch is opened anew this often, so a lost notice is made good this late."""
STAND_DOWN_US = 5_000_000


class Election:
    def __init__(self, node: Control, tell: Callable[[int | None], None]) -> None:
        self._node, self._etcd, self._tell = node, node.etcd, tell
        self.term = 0
        self.lease = 0
        self.safe_until = Instant(0)
        self.proof_sent_at: Instant | None = None
        self._campaigning = False
        self._pausing = False
        self._attempt = 0

    def begin(self) -> None:
        """The process has started."""
        self._node.after(self._node.world.between(0, 50_000), self._campaign)
        self._node.after(_LISTED_EVERY_US, self._list)

    # ---- what others ask ----

    @property
    def proof(self) -> Instant | None:
        """When the newest proof was sent; only while our own clock says that the lease still holds."""
        return self.proof_sent_at if self.term and self._node.now < self.safe_until else None

    # ---- taking part ----

    def noticed(self, holder_term: int, as_of: int) -> None:
        """The watch tells of the key: the term of who holds it (0: nobody) at that revision."""
        if self.term:
            if as_of > self.term != holder_term:  # else it is older than our own victory
                self._lose()
        elif not holder_term:
            self._node.after(self._node.world.between(200, 3_000), self._campaign)

    def _list(self) -> None:
        self._node.after(_LISTED_EVERY_US, self._list)
        if not self.term:
            self._campaign()
        elif self._etcd_says_another():
            self._lose()

    def _etcd_says_another(self) -> bool:
        return self._node.reaches_etcd and self._etcd.term != self.term

    def _campaign(self) -> None:
        if self.term or self._campaigning or self._pausing:
            return
        self._campaigning = True
        self._attempt += 1
        attempt, sent_at = self._attempt, self._node.now

        def answered(outcome: tuple[int, int]) -> None:
            if attempt != self._attempt:
                if outcome[0]:  # too late: given back, so that the others need not wait for it
                    self._etcd.ask(self._node.name, lambda: self._etcd.revoke(outcome[1]), lambda _: None)
                return
            self._attempt += 1
            self._campaigning = False
            if outcome[0]:
                self.win(outcome, sent_at)

        def given_up() -> None:
            if attempt == self._attempt:
                self._attempt += 1
                self._campaigning = False
                self._node.after(_RETRY_US, self._campaign)

        self._node.ask_etcd(lambda: self._etcd.campaign(self._node.name), answered)
        self._node.timer(2_000_000, given_up)

    def win(self, outcome: tuple[int, int], sent_at: Instant) -> None:
        self.term, self.lease = outcome
        self.proof_sent_at = sent_at
        self.safe_until = Instant(sent_at + LEASE_US - _MARGIN_US)
        term = self.term
        self._node.timer(self.safe_until - self._node.now, lambda: self._expire(term))
        self._node.timer(_BEAT_EVERY_US, lambda: self._keep(term))
        self._node.timer(_PROVE_EVERY_US, lambda: self._prove(term))
        self._node.world.note(f"{self._node.name} leads in term {term}")
        if self._node.now < self.safe_until:
            self._tell(term)

    def _expire(self, term: int) -> None:
        if self.term != term:
            return
        left_us = self.safe_until - self._node.now
        if left_us > 0:
            self._node.timer(left_us, lambda: self._expire(term))
        else:
            self._lose()

    def _keep(self, term: int) -> None:
        if self.term != term:
            return
        self._node.timer(_BEAT_EVERY_US, lambda: self._keep(term))
        sent_at, lease = self._node.now, self.lease

        def answered(kept: bool) -> None:
            if self.term != term:
                return
            if kept:
                self.safe_until = max(self.safe_until, Instant(sent_at + LEASE_US - _MARGIN_US))
            else:
                self._lose()

        self._node.ask_etcd(lambda: self._etcd.keep_alive(lease), answered)

    def _prove(self, term: int) -> None:
        if self.term != term:
            return
        self._node.timer(_PROVE_EVERY_US, lambda: self._prove(term))
        sent_at = self._node.now

        def answered(found: tuple[int, str]) -> None:
            if self.term != term:
                return
            if found != (term, self._node.name):
                self._lose()
            elif self._node.now < self.safe_until:
                self.proof_sent_at = max(sent_at, self.proof_sent_at or sent_at)

        self._node.ask_etcd(lambda: (self._etcd.term, self._etcd.holder), answered)

    def _lose(self) -> None:
        """Everybody is told at once; the others need not wait for the lease to run out."""
        lease = self.lease
        self.term, self.lease, self.proof_sent_at = 0, 0, None
        self._tell(None)
        self._etcd.ask(self._node.name, lambda: self._etcd.revoke(lease), lambda _: None)
        self._node.after(self._node.world.between(1_000, 200_000), self._campaign)

    def resign(self) -> None:
        """StandDown: for a while this node does not take part."""
        if self._pausing:
            return
        self._pausing = True
        self._node.world.count("leaders that stood down")

        def again() -> None:
            self._pausing = False
            self._campaign()

        if self.term:
            self._lose()
        self._node.timer(STAND_DOWN_US, again)
