"""`primacy-orchestrator --config FILE`: one control node."""

from __future__ import annotations

import argparse
import os
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from common.extras import require

EXIT_BAD_CONFIG = 2
EXIT_BROKEN = 70


def main(argv: list[str] | None = None) -> int:
    # Whether gRPC survives a fork is of no interest to a daemon that never forks after its start.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    require("orchestrator", "apscheduler", "dns", "grpc_health", "grpc_reflection", "starlette", "uvicorn")
    from common import logs
    from common.errors import BadConfig
    from orchestrator import config as configuration

    asked = _parser().parse_args(argv)
    try:
        config = configuration.read(asked.config)
    except BadConfig as error:
        return _mistakes(error)
    if asked.check_config:
        print(f"{asked.config}: no mistakes found")
        return 0
    logs.set_up(program="orchestrator", level=config.log_level, node=config.name)
    return _run(config)


def _run(config: object) -> int:
    import asyncio

    import structlog

    from common.errors import BadConfig
    from orchestrator.app import App
    from orchestrator.config import Config
    from orchestrator.shell import failpoints

    assert isinstance(config, Config)
    log = structlog.get_logger()

    async def serve() -> None:
        await App(config, failpoints.Failpoints(os.environ.get(failpoints.VARIABLE, ""))).run()

    try:
        asyncio.run(serve())
    except BadConfig as error:
        return _mistakes(error)
    except BaseExceptionGroup as group:
        mistakes, others = group.split(BadConfig)
        if others is None and mistakes is not None:
            return _mistakes(mistakes.exceptions[0])
        # A broken invariant, or what nobody foresaw: the supervisor starts us anew.
        log.critical("control_node.ended_by_failure", exc_info=group)
        return EXIT_BROKEN
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="primacy-orchestrator", description="One control node of Primacy.")
    parser.add_argument(
        "--config", type=Path, required=True, metavar="FILE", help="TOML; see deploy/examples"
    )
    parser.add_argument("--check-config", action="store_true", help="only say what is wrong with the file")
    parser.add_argument("--version", action="version", version=f"primacy-orchestrator {_version()}")
    return parser


def _version() -> str:
    try:
        return version("primacy")
    except PackageNotFoundError:
        return "from a source tree"


def _mistakes(error: BaseException) -> int:
    for line in str(error).splitlines():
        print(line, file=sys.stderr)
    return EXIT_BAD_CONFIG


if __name__ == "__main__":
    sys.exit(main())
