"""What a gRPC status means for the one who asked, and how it is said without gRPC's own words."""

from __future__ import annotations

import re
from enum import Enum

import grpc
import grpc.aio

from orchestrator.cli.words import one_line

LEADER_KEY = "primacy-leader"
"""Where a node that does not lead says who does (interfaces.md, "Who talks to whom")."""

MAY_HAVE_BEGUN_KEY = "primacy-may-have-begun"
"""Where a node that passed something on says that the leader was lost after it."""


class Verdict(Enum):
    BAD_REQUEST = "bad request"
    """The request itself is wrong; every node would say so."""
    REFUSED = "refused"
    NOT_LEADING = "not leading"
    """Or can't answer at the moment for another reason that it knows: worth waiting for."""
    LOST = "lost"
    """The node or the way to it; another one may answer."""
    BROKEN = "broken"
    """It answered with a failure of its own."""


_CODES = {
    grpc.StatusCode.INVALID_ARGUMENT: Verdict.BAD_REQUEST,
    grpc.StatusCode.NOT_FOUND: Verdict.BAD_REQUEST,
    grpc.StatusCode.OUT_OF_RANGE: Verdict.BAD_REQUEST,
    grpc.StatusCode.PERMISSION_DENIED: Verdict.REFUSED,
    grpc.StatusCode.UNAUTHENTICATED: Verdict.REFUSED,
    grpc.StatusCode.ALREADY_EXISTS: Verdict.REFUSED,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Verdict.REFUSED,
    grpc.StatusCode.ABORTED: Verdict.REFUSED,
    grpc.StatusCode.UNIMPLEMENTED: Verdict.REFUSED,
    grpc.StatusCode.FAILED_PRECONDITION: Verdict.NOT_LEADING,
    grpc.StatusCode.UNAVAILABLE: Verdict.LOST,
    grpc.StatusCode.DEADLINE_EXCEEDED: Verdict.LOST,
    grpc.StatusCode.CANCELLED: Verdict.LOST,
}

_SAID = (
    (r"CERTIFICATE_VERIFY_FAILED", "its certificate is not signed by our authority (--tls-ca)"),
    (
        r"(?i)peer name .* is not in peer certificate|hostname verification",
        "its certificate is for another address",
    ),
    (
        r"(?i)(alert|certificate).*(unknown.ca|bad.certificate|certificate.required|certificate.expired)",
        "it does not accept our certificate (--tls-cert)",
    ),
    (r"(?i)WRONG_VERSION_NUMBER|not.*a.*tls", "it does not speak TLS: is the port right?"),
    (r"(?i)handshake", "the TLS handshake failed"),
    (r"(?i)connection refused", "connection refused"),
    (r"(?i)no route to host|network is unreachable|host is unreachable", "no route to it"),
    (
        r"(?i)(name or service not known|DNS resolution failed|nodename nor servname|domain name not found)",
        "its name is not known to DNS",
    ),
    (
        r"(?i)socket closed|connection reset|broken pipe|goaway|stream removed|transport closed",
        "the connection broke",
    ),
    (r"(?i)failed to connect to all addresses", "it can't be connected to"),
    (r"(?i)deadline exceeded", "no answer in time"),
)


_OF_GRPC = re.compile(
    r"(?i)\W*(failed to connect|empty address|no address|dns resolution|domain name|ssl|tls|tcp|socket closed"
    r"|connection (reset|refused|aborted|timed out)|recvmsg|sendmsg|broken pipe|goaway|stream removed"
    r"|transport|endpoint|ipv[46]:|unix:|deadline exceeded|cancell?ed)"
)
"""How gRPC's own words begin. A server may quote them in the middle of its own."""


def verdict_of(error: grpc.aio.AioRpcError) -> Verdict:
    verdict = _CODES.get(error.code(), Verdict.BROKEN)
    words_of_its_own = error.code() is grpc.StatusCode.UNAVAILABLE and _connection_trouble(error) is None
    return Verdict.NOT_LEADING if words_of_its_own else verdict


def leader_of(error: grpc.aio.AioRpcError) -> str:
    """Who leads, as a node says that does not; empty where it does not know."""
    return _said_beside(error, LEADER_KEY)


def may_have_begun(error: grpc.aio.AioRpcError) -> bool:
    """What was asked reached somebody who may have done it, and was lost before an answer came."""
    return verdict_of(error) is Verdict.LOST or bool(_said_beside(error, MAY_HAVE_BEGUN_KEY))


def _said_beside(error: grpc.aio.AioRpcError, wanted: str) -> str:
    for metadata in (error.trailing_metadata(), error.initial_metadata()):
        for key, value in metadata or ():
            if key == wanted:
                return value if isinstance(value, str) else bytes(value).decode()
    return ""


def _connection_trouble(error: grpc.aio.AioRpcError) -> str | None:
    """Said by our side of the connection, not by the server."""
    details = error.details() or ""
    if not _OF_GRPC.match(details):
        return None
    return next((said for pattern, said in _SAID if re.search(pattern, details)), None)


def why(error: grpc.aio.AioRpcError) -> str:
    """The server's own words where it had some, else what happened to the connection."""
    trouble = _connection_trouble(error) if verdict_of(error) is Verdict.LOST else None
    return trouble or one_line(error.details() or "") or error.code().name.lower().replace("_", " ")


def mistakes_of(error: grpc.aio.AioRpcError) -> list[str]:
    """Of a request that was wrong: one to a line."""
    return [one_line(line) for line in (error.details() or "").splitlines() if line.strip()] or [why(error)]
