"""A client that loses what it was answered: the unknown outcome, on demand and exactly once."""

from __future__ import annotations

from collections.abc import Sequence

from common.errors import OutcomeUnknown
from orchestrator.etcd.client import Client
from orchestrator.etcd.transaction import TransactionResult
from protos import etcd_pb2 as pb

Request = tuple[Sequence[pb.Compare], Sequence[pb.RequestOp], Sequence[pb.RequestOp]]


class ForgetfulClient(Client):
    """Loses the answer of the next transaction, or holds the transaction back, when told so."""

    next_fate: str | None = None
    held: Request | None = None

    async def transaction(
        self,
        compare: Sequence[pb.Compare],
        success: Sequence[pb.RequestOp],
        failure: Sequence[pb.RequestOp] = (),
    ) -> TransactionResult:
        fate, self.next_fate = self.next_fate, None
        if fate is None:
            return await super().transaction(compare, success, failure)
        if fate == "stored":
            await super().transaction(compare, success, failure)
        if fate == "held":
            self.held = compare, success, failure
        raise OutcomeUnknown(f"the test lost the answer ({fate})")
