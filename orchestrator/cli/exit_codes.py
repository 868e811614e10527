"""What the exit codes of `primacy` mean; scripts rely on them, so a number never changes its meaning."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    DONE = 0
    FAILED = 1
    BAD_INPUT = 2
    REFUSED = 3
    NO_CONTROL_NODE = 4
    NOT_WHOLE = 5
    INTERRUPTED = 130


MEANINGS: dict[ExitCode, str] = {
    ExitCode.DONE: "done, or nothing had to be done",
    ExitCode.FAILED: "failed after it began, or its outcome is not known",
    ExitCode.BAD_INPUT: "bad input or usage; nothing was sent, or nothing was changed",
    ExitCode.REFUSED: "refused; nothing was changed",
    ExitCode.NO_CONTROL_NODE: "no control node could be reached, or none of them leads",
    ExitCode.NOT_WHOLE: "not whole (status --exit-code)",
    ExitCode.INTERRUPTED: "interrupted; an operation that was begun goes on",
}


def described() -> str:
    """For --help, one to a line."""
    lines = [f"  {code.value:<4} {meaning}" for code, meaning in MEANINGS.items()]
    return "\b\nExit codes:\n" + "\n".join(lines)
