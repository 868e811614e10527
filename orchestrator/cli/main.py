"""The entry of `primacy`: says what is missing, then runs the commands of `app.py`."""

from __future__ import annotations

import os
import sys

from common.extras import require
from orchestrator.cli.exit_codes import ExitCode


def main() -> None:
    require("cli", "typer", "rich")
    from orchestrator.cli.app import app

    try:
        app(prog_name="primacy")
    except BrokenPipeError:
        # `primacy history shop | head`: the reader has what it wanted.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(ExitCode.DONE)


if __name__ == "__main__":
    main()
