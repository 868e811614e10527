"""Reads that are asked for at about the same time are one request.

At the beginning of a term the record of every cluster is read: one by one, each would cost its own call. Whoever comes
first carries all that wait; nobody waits for a timer. No task of its own: a carrier that is cancelled leaves what it
carried to the next.
"""

from __future__ import annotations

import asyncio
from collections import deque

from common.errors import FailoverError
from orchestrator.etcd.client import GETS_AT_ONCE, Client
from orchestrator.etcd.transaction import KeyValue

Asked = tuple[str, "asyncio.Future[KeyValue | None]"]


class GatheredReads:
    def __init__(self, client: Client) -> None:
        self._client = client
        self._waiting: deque[Asked] = deque()
        self._carrying = asyncio.Lock()

    async def get(self, key: str) -> KeyValue | None:
        """As `Client.get`, of a request that was sent after this was called."""
        answer: asyncio.Future[KeyValue | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((key, answer))
        try:
            async with self._carrying:
                while not answer.done():
                    await self._carry()
            return answer.result()
        except asyncio.CancelledError:
            answer.cancel()  # nobody wants it any more
            raise

    async def _carry(self) -> None:
        some: list[Asked] = []
        while self._waiting and len(some) < GETS_AT_ONCE:
            asked = self._waiting.popleft()
            if not asked[1].done():
                some.append(asked)
        try:
            found = await self._client.get_many([key for key, _ in some])
        except FailoverError as error:
            for _, answer in some:
                if not answer.done():
                    answer.set_exception(error)
                    answer.exception()  # seen: whoever was cancelled meanwhile does not ask
            return
        except BaseException:
            self._waiting.extendleft(reversed(some))
            raise
        for (_, answer), kv in zip(some, found, strict=True):
            if not answer.done():
                answer.set_result(kv)
