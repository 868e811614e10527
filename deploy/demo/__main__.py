"""`make demo`: a failover, a lost host and a switchover on real parts, in an environment of its own.

Ends non-zero if anything was lost, if there was a second writer, or if the cluster is not whole again.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading

from rich.console import Console

from deploy.demo.acts import run_acts
from deploy.demo.screen import Screen
from deploy.lab.fleet import Cluster, Fleet
from deploy.lab.lab import Lab, LabFailed
from deploy.lab.programs import Programs
from deploy.lab.witnessed import Witnessed

FLEET = Fleet(clusters=(Cluster("shop", canary=True),))


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="make demo ARGS=…", description=__doc__)
    parser.add_argument("--stay", action="store_true", help="keep everything up afterwards, until Ctrl-C")
    parser.add_argument("--plain", action="store_true", help="no live screen, only lines")
    chosen = parser.parse_args(words)
    console = Console(highlight=False, soft_wrap=False)
    try:
        programs = Programs.discover()
    except LookupError as missing:
        console.print(f"[red]{missing}[/]")
        return 2
    try:
        with Lab(FLEET, programs) as lab:
            return _show(lab, console, stay=chosen.stay, plain=chosen.plain or not sys.stdout.isatty())
    except LabFailed as failed:
        console.print(f"[red]the demo failed:[/] {failed}", markup=True)
        return 1
    except KeyboardInterrupt:
        console.print("interrupted; everything was taken down")
        return 130


def _show(lab: Lab, console: Console, *, stay: bool, plain: bool) -> int:
    for warning in lab.warnings:
        console.print(f"[yellow]note:[/] {warning}")
    if os.geteuid() != 0:
        console.print("[yellow]note:[/] not root: hosts are addresses on loopback, and a lost host is frozen")
    programs = lab.programs
    name_server = f"BIND from {programs.named}" if programs.named else "the control nodes' own name server"
    with Screen(console, plain=plain) as screen:
        screen.say(f"PostgreSQL from {programs.postgres_bin}, etcd {programs.etcd_version}, {name_server}")
        screen.say("starting etcd, three control nodes, a name server, three members")
        lab.start()
        cluster = Witnessed(lab)
        try:
            screen.follow(cluster)
            good = run_acts(cluster, screen)
            if stay:
                _stay(lab, screen)
            return 0 if good else 1
        finally:
            screen.follow(None)
            cluster.close()


def _stay(lab: Lab, screen: Screen) -> None:
    screen.say("it stays up; in a second terminal try:")
    for command in (
        (*lab.programs.cli, "status", "shop", "--watch"),
        (*lab.programs.cli, "switchover", "shop"),
        (*lab.programs.cli, "history", "shop"),
    ):
        screen.say("  " + lab.by_hand(command))
    screen.say("Ctrl-C takes everything down")
    threading.Event().wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
