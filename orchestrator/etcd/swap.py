"""Compare-and-swap of one key, and how an unknown outcome is settled.

A write W that was handed over and not answered may still be on its way: a read that finds the old value
proves nothing, W could land right after it. What settles it is the *same* transaction once more. Both
compare the key's mod revision with the same number, and any success raises that number for ever, so at most
one of the two can succeed, and both store the same bytes:

- the second succeeds: W has not landed and never can;
- the second finds another revision with our bytes: under one term only we write, so W landed;
- the second finds another revision with other bytes: somebody else wrote; W did not land, or was overwritten;
- the second finds that the term is over: W can't land any more (a create revision never comes back), and
  whether it did is for the next leader to read.

So this is no blind repetition: the failing branch reads both keys in the same transaction. When the second
stays unknown too, the caller gets OutcomeUnknown; whatever then still lands is met as a Conflict by the
next save, because that one compares as well.
"""

from __future__ import annotations

import asyncio

from common.clock import Clock
from common.errors import LostLeadership, NotDelivered, OutcomeUnknown, Refused
from common.timebase import after_ms
from orchestrator.etcd.client import Client
from orchestrator.etcd.transaction import TransactionResult, created_at, get, leased_to, modified_at, put
from orchestrator.ports import BODY_BYTES_MAX, ClusterIdChanged, Conflict, Term


async def swap(
    client: Client, clock: Clock, *, key: str, body: bytes, expected: int, term: Term | None
) -> int:
    """Store `body` where `key` is at mod revision `expected` (0: absent) and, if one is given, under `term`.

    Return the new mod revision. Raise as `RecordStore.save`.
    """
    if len(body) > BODY_BYTES_MAX:
        raise Refused(f"{key}: {len(body)} bytes, at most {BODY_BYTES_MAX} are stored")
    compare = [modified_at(key, expected)]
    if_not = [get(key)]
    if term is not None:
        # By the lease too: an etcd restored from a copy counts up again, and may give a create revision twice.
        compare += [created_at(term.key, term.create_revision), leased_to(term.key, term.lease_id)]
        if_not.append(get(term.key))
    until = after_ms(clock.now(), client.times.total_within_ms)
    unknown: OutcomeUnknown | None = None
    while True:
        try:
            result = await client.transaction(compare, [put(key, body)], if_not)
        except OutcomeUnknown as error:
            unknown = error
        except ClusterIdChanged:
            raise
        except (NotDelivered, Refused) as error:
            if unknown is None:
                raise
            if clock.now() >= until:
                raise unknown from error
        else:
            if result.succeeded:
                return result.revision
            return _settled(result, key=key, body=body, expected=expected, term=term, after=unknown)
        if clock.now() >= until:
            raise unknown
        await asyncio.sleep(client.times.pause_ms / 1000)


def _settled(
    result: TransactionResult,
    *,
    key: str,
    body: bytes,
    expected: int,
    term: Term | None,
    after: OutcomeUnknown | None,
) -> int:
    if term is not None:
        holder = result.ranges[1]
        holds = holder and (holder[0].create_revision, holder[0].lease_id)
        if holds != (term.create_revision, term.lease_id):
            raise LostLeadership(f"term {term.create_revision} is over: {key} was not saved under it")
    found = result.ranges[0]
    if after is not None and found and found[0].mod_revision > expected and found[0].value == body:
        return found[0].mod_revision
    raise Conflict(key, expected=expected, found=found[0].mod_revision if found else 0)
