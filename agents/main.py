"""`primacy-agent`: reads its file, refuses what it must, runs the agent. Exit codes: 0 told to stop, 2 a
mistake of the operator's (nothing was started), 1 anything unforeseen."""

from __future__ import annotations

import argparse
import asyncio
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import structlog

from agents import config as configuration
from agents.app import Agent
from agents.config import AgentConfig
from agents.core.state import first_state
from agents.driver import new_incarnation
from agents.epoch_store import EpochStore
from common import logs
from common.clock import BootClock
from common.errors import BadConfig
from common.ids import IncarnationId

log: Any = structlog.get_logger()

EXIT_BAD_CONFIG = 2


def main() -> None:
    options = _parser().parse_args()
    try:
        config = configuration.load(options.config)
        if options.check_config:
            sys.stdout.write(f"{config.file}: no mistakes found\n")
            return
        configuration.refuse_root()
        logs.set_up(
            program="agent",
            as_json=config.log_json,
            level=config.log_level,
            cluster=config.cluster,
            member=config.member,
        )
        asyncio.run(_run(config, untested_version=options.untested_version))
    except BadConfig as bad:
        for mistake in bad.mistakes:
            sys.stderr.write(f"primacy-agent: {mistake}\n")
        sys.exit(EXIT_BAD_CONFIG)


async def _run(config: AgentConfig, *, untested_version: bool) -> None:
    store = EpochStore.open(config.state_directory)
    loaded = store.load(config.cluster, config.member, wall_ms=BootClock().wall_ms())
    if loaded.trouble:
        log.error("state.lost", why=loaded.trouble)
    if loaded.state is None:
        await store.save(first_state(config.cluster, config.member, IncarnationId(new_incarnation())))
        log.info("incarnation.drawn", incarnation=store.current.incarnation)
    await Agent(config, store, untested_version=untested_version).run()
    store.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="primacy-agent",
        description="The agent of one PostgreSQL member. Usually primacy-guard starts it, and restarts it.",
        epilog="On SIGTERM the agent ends and leaves PostgreSQL running.",
    )
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="agent.toml")
    parser.add_argument("--check-config", action="store_true", help="tell all mistakes in FILE and exit")
    parser.add_argument(
        "--untested-version", action="store_true", help="work with a version of PostgreSQL that is not tested"
    )
    parser.add_argument("--version", action="version", version=f"primacy-agent {_version()}")
    return parser


def _version() -> str:
    try:
        return metadata.version("primacy")
    except metadata.PackageNotFoundError:
        return "(not installed)"


if __name__ == "__main__":
    main()
