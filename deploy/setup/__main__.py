"""`python -m deploy.setup [--here] LOCK [COMMAND ...]`: prepare, then become the command.

Without a command it says what it has prepared. The command runs in the copy of the code, so that
what it starts as another user can read it; with `--here` it runs in the clone (to rewrite locks,
stubs and golden files).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from deploy.setup.held_back import Interrupted
from deploy.setup.prepared import Prepared, prepare
from deploy.setup.say import SetupProblem, say


def main(arguments: Sequence[str]) -> int:
    here = arguments[:1] == ["--here"]
    rest = list(arguments[1:] if here else arguments)
    if not rest:
        say("usage: bootstrap.sh [--here] LOCK [COMMAND [ARGUMENT ...]]")
        return 2
    try:
        prepared = prepare(rest[0])
        if prepared.binaries.postgresql is None or prepared.binaries.etcd is None:
            raise SetupProblem(
                "no PostgreSQL (15.13, 16.9, 17.5, 18.0 or later minors) or no etcd that "
                f"{prepared.account.name} can run. Root must run:  apt-get install -y postgresql etcd-server"
            )
    except SetupProblem as problem:
        say(str(problem))
        return 1
    except Interrupted as interrupted:
        say(f"stopped by {interrupted}; everything is as it was")
        return 128 + interrupted.number
    except KeyboardInterrupt:
        say("stopped; the next run goes on from here")
        return 130
    for warning in prepared.binaries.warnings():
        say(warning)
    command = rest[1:]
    if not command:
        _show(prepared)
        return 0
    os.chdir(prepared.source if here else prepared.code)
    variables = os.environ | prepared.environment()
    if here:
        variables["PYTHONPATH"] = str(prepared.source)
    sys.stdout.flush()
    try:
        os.execvpe(command[0], command, variables)
    except OSError as problem:
        say(f"cannot run {command[0]}: {problem.strerror}")
        return 127


def _show(prepared: Prepared) -> None:
    found = prepared.binaries
    say(f"interpreter {prepared.python}")
    say(f"code        {prepared.code}")
    say(f"runs as     {prepared.account.name}")
    for name, one in (
        ("PostgreSQL", found.postgresql),
        ("etcd", found.etcd),
        ("named", found.named),
        ("nft", found.nft),
        ("ip", found.ip),
    ):
        say(f"{name:<12}{one if one is not None else 'not here'}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
