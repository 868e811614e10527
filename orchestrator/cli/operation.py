"""Following a switchover or failover to its one outcome, across the loss of control nodes.

The request id is drawn here, once. Asking again with the same id never does the thing twice, so a lost
stream is simply opened anew, and what was told before is not told again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any

from common.clock import BootClock
from common.codec import decode
from common.errors import FailoverError, NotDelivered, OutcomeUnknown
from common.timebase import Instant, elapsed_ms
from orchestrator.cli.control import Broke, ControlNodes, Notice, Pick
from orchestrator.core.status import ClusterStatus
from protos import operator_pb2 as pb

SILENT_S = 2.0
"""An operation may rightly be silent for long; after this the node is asked whether it still lives."""
LOST_WITHIN_MS = 30_000
"""How long an operation that was begun is looked for when no control node answers."""
PAUSE_S = 0.25
FINAL = frozenset({pb.STEP_REFUSED, pb.STEP_SUCCEEDED, pb.STEP_FAILED})

Step = pb.OperationStep
Begin = Callable[[str], Any]
"""The request with this id."""


@dataclass(frozen=True, slots=True)
class Alive:
    """Nothing happened for a while, and the node that leads the operation lives."""

    text: str
    """What is under way, in its words; may be empty."""


async def follow(
    nodes: ControlNodes, pick: Pick, begin: Begin, *, cluster: str, request_id: str
) -> AsyncGenerator[Step | Notice | Alive]:
    """Each step once; the last one is the outcome. A Notice says that it may have begun, at least.
    Raise NotDelivered when it surely was not begun, OutcomeUnknown when it was begun and then lost sight of."""
    clock = BootClock()
    told: set[tuple[str, str]] = set()
    lost_at: Instant | None = None
    begun = False
    """Or maybe: somebody was asked for it, and may have had the time to begin."""
    left = ""
    while True:
        try:
            address, stream = await nodes.open(pick, begin(request_id), changes=True)
        except FailoverError as error:
            first = not begun
            begun = begun or (isinstance(error, OutcomeUnknown) and not isinstance(error, Broke))
            if not begun:
                raise
            lost_at = lost_at or clock.now()
            if elapsed_ms(since=lost_at, now=clock.now()) > LOST_WITHIN_MS or not isinstance(
                error, NotDelivered | OutcomeUnknown
            ):
                raise OutcomeUnknown(f"the operation was lost sight of: {error}") from error
            if first:
                yield Notice(f"{error}\nit may have begun; looking for who leads now")
            await asyncio.sleep(PAUSE_S)
            continue
        begun = True
        if left:
            yield Notice(f"going on with {address}" if address != left else f"{address} is back")
        try:
            while True:
                step = await stream.next(SILENT_S)
                if step is None:
                    yield await _sign_of_life(nodes, address, cluster)
                    continue
                lost_at = None
                key = (step.name, step.text)
                if key in told:
                    continue
                told.add(key)
                yield step
                if step.kind in FINAL:
                    return
        except NotDelivered as error:
            left = address
            lost_at = lost_at or clock.now()
            nodes.doubt(address)
            yield Notice(f"leaving {address}: {error}; the operation goes on, looking for who leads now")
        finally:
            await stream.end()


async def _sign_of_life(nodes: ControlNodes, address: str, cluster: str) -> Alive:
    """What is under way, in the words of the node that leads it. Raise NotDelivered when it is silent."""
    answer = await nodes.alive(address, cluster)
    if answer is None:
        raise NotDelivered("it fell silent")
    try:
        status = decode(answer, ClusterStatus)
    except ValueError:
        return Alive("")
    return Alive(status.operation)
