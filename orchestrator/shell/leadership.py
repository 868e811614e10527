"""Taking part in the election, and telling the loop of each change at once.

Giving up (StandDown) is not an end: after a pause this node takes part again, so that a fleet whose
control nodes all doubt themselves is not left without any.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from common.errors import NotDelivered, OutcomeUnknown, Refused
from orchestrator.ports import Election, Term
from orchestrator.shell.leases import Proof

log = structlog.get_logger()

STAND_DOWN_S = 5.0
ASKED_WITHIN_S = 0.5
"""For a person's sake, who waits; less than what a request to etcd may take."""


class Leadership:
    def __init__(self, election: Election, *, stand_down_s: float = STAND_DOWN_S) -> None:
        self._election, self._stand_down_s = election, stand_down_s
        self._ending = False

    @property
    def proof(self) -> Proof | None:
        term, sent_at = self._election.term, self._election.proof_sent_at
        return None if term is None or sent_at is None else Proof(term.create_revision, sent_at)

    @property
    def term(self) -> Term | None:
        return self._election.term

    @property
    def leader_name(self) -> str:
        leader = self._election.current_leader
        return "" if leader is None else leader.name

    @property
    def leader_address(self) -> str:
        leader = self._election.current_leader
        return "" if leader is None else leader.address

    @property
    def leader_term(self) -> int:
        leader = self._election.current_leader
        return 0 if leader is None else leader.term

    async def why_nobody_leads(self) -> str:
        """In words; etcd is asked now."""
        try:
            async with asyncio.timeout(ASKED_WITHIN_S):
                leader = await self._election.leader()
        except Refused as error:
            return f"etcd refuses: {error}"
        except (NotDelivered, OutcomeUnknown) as error:
            return f"etcd does not answer, which takes a majority of its members ({error})"
        except TimeoutError:
            return (
                "etcd does not answer, which takes a majority of its members "
                f"(nothing came within {ASKED_WITHIN_S * 1000:.0f} ms)"
            )
        if leader is None:
            return "etcd answers, and nobody is elected at the moment"
        return f"etcd answers, and says that {leader.name} was elected; ask again"

    async def run(self) -> None:
        """Until `end`. Raise ClusterIdChanged."""
        while not self._ending:
            await self._election.run()
            if not self._ending:
                await asyncio.sleep(self._stand_down_s)

    async def watch(self, tell: Callable[[Term | None], None]) -> None:
        """Until cancelled."""
        before: Term | None = None
        async for state in self._election.changes():
            if state.term != before:
                before = state.term
                tell(before)

    async def stand_down(self, text: str) -> None:
        log.warning("election.stood_down", reason=text)
        await self._election.resign()

    async def end(self) -> None:
        """We stop: another one may lead within milliseconds."""
        self._ending = True
        await self._election.resign()
