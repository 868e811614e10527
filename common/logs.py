"""Setting up structlog: events with stable names, values as fields (style.md 3, 21).

`log = structlog.get_logger()` and `log.info("failover.decided", epoch=7)` elsewhere; a daemon calls `set_up`
once. JSON for machines, a console form for a terminal. A field whose name says that it is secret is masked
even if somebody passes it by mistake.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Final

import structlog
import structlog.tracebacks

MASK: Final = "***"
_SECRET = re.compile(r"(^|_)(password|passwd|secret|token|key|credentials?)$")
LEVELS: Final = ("debug", "info", "warning", "error")


def mask_secrets(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name in event:
        if _SECRET.search(name):
            event[name] = MASK
    return event


def set_up(*, program: str, as_json: bool | None = None, level: str = "info", **always: str) -> None:
    """Logs go to standard error. `as_json` None: the console form on a terminal, JSON elsewhere.

    `always` are fields of every event (member, cluster, control node).
    """
    chosen = as_json if as_json is not None else not sys.stderr.isatty()
    renderer: Any = (
        structlog.processors.JSONRenderer(sort_keys=False, default=str)
        if chosen
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    # Without the frames' local variables: secrets are among them.
    tracebacks: Any = structlog.processors.ExceptionRenderer(
        structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    )

    def add_always(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        return {"program": program, **always, **event}

    structlog.configure(
        processors=[
            add_always,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            mask_secrets,
            *([tracebacks] if chosen else []),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    # Libraries use the standard module; what they say at warning and above goes to the same place.
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(name)s: %(message)s", force=True)
