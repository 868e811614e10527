"""`primacy-guard`: the parent of the agent (protocol.md, "Staying up"). Standard library only."""

from __future__ import annotations

import argparse
import ctypes
import os
import sys
from importlib import metadata
from pathlib import Path

from agents.guard.channel import Report, decode_report
from agents.guard.guard import EXIT_BAD_CONFIG, Guard
from agents.guard.turn import wait_for_turn

_PR_SET_CHILD_SUBREAPER = 36

_SIGNALS = """
signals:
  SIGTERM, SIGINT  stop PostgreSQL (fast, after 30 s immediate, then SIGKILL), then the agent: for the
                   shutdown of a host. A failover follows at once if this member is the primary.
  SIGUSR1          stop the agent and leave PostgreSQL running: for an upgrade of the agent. Start the guard
                   again soon: until then nobody holds the deadline.
Killing agent or guard in any other way leaves PostgreSQL running; each of them starts the other again.
exit codes: 0 told to stop, 2 a mistake in FILE (nothing was started), 1 anything else.
"""


def main() -> None:
    options = _parser().parse_args()
    agent = [sys.executable, "-m", "agents.main", "--config", options.config]
    if options.untested_version:
        agent.append("--untested-version")
    if options.check_config:
        os.execv(sys.executable, [*agent, "--check-config"])
    if os.geteuid() == 0:
        sys.stderr.write(
            "primacy-guard: runs as the user that owns PostgreSQL's data directory, never as root\n"
        )
        sys.exit(EXIT_BAD_CONFIG)
    if not options.adopt:
        mistaken = wait_for_turn(Path(options.config), [*agent, "--check-config"])
        if mistaken:
            sys.exit(mistaken)
    become_subreaper()
    sys.exit(Guard(agent, _adopted(options.adopt)).run())


def become_subreaper() -> None:
    """Processes that lose their parent become ours, so that no zombie of PostgreSQL is left."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        sys.stderr.write(f"primacy-guard: not a subreaper: {os.strerror(ctypes.get_errno())}\n")


def _adopted(text: str) -> Report | None:
    if not text:
        return None
    try:
        return decode_report(text.encode())
    except (ValueError, TypeError) as error:
        sys.stderr.write(f"primacy-guard: --adopt could not be read, begins anew: {error}\n")
        return None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="primacy-guard",
        description="Starts the agent of one PostgreSQL member and keeps it alive; holds the deadline of an "
        "open primary, and kills PostgreSQL when it passes.",
        epilog=_SIGNALS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", required=True, metavar="FILE", help="agent.toml, the agent's own file")
    parser.add_argument("--check-config", action="store_true", help="tell all mistakes in FILE and exit")
    parser.add_argument("--untested-version", action="store_true", help="handed on to the agent")
    parser.add_argument("--adopt", default="", metavar="JSON", help=argparse.SUPPRESS)
    parser.add_argument("--version", action="version", version=f"primacy-guard {_version()}")
    return parser


def _version() -> str:
    try:
        return metadata.version("primacy")
    except metadata.PackageNotFoundError:
        return "(not installed)"


if __name__ == "__main__":
    main()
