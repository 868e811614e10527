"""`primacy context set` and `show`: what is used to reach the control nodes, and where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rich.text import Text

from common.errors import BadConfig
from orchestrator.cli.context import (
    CONTROL,
    OPTIONS,
    Setting,
    address,
    connection,
    context_file,
    save,
    settings,
)
from orchestrator.cli.exit_codes import ExitCode
from orchestrator.cli.screen import Screen

KEY_WIDTH = max(len(key) for key in OPTIONS)


def keep(screen: Screen, given: Mapping[str, str], elsewhere: Mapping[str, Setting]) -> ExitCode:
    """`elsewhere`: given before the command (`primacy --control … context set`); as good as after it."""
    file = context_file()
    try:
        wanted = {
            key: setting.value for key, setting in elsewhere.items() if setting.origin.startswith("option")
        }
        wanted.update(given)
        if not wanted:
            raise BadConfig([f"nothing to keep; give at least one of {', '.join(OPTIONS.values())}"])
        values = {key: setting.value for key, setting in settings({}, file).items()}
        values.update({key: _checked(key, value) for key, value in wanted.items()})
        save(values, file)
    except BadConfig as error:
        return _bad(screen, error)
    screen.say(Text(f"Kept in {file}:"))
    return show(screen, {})


def show(screen: Screen, given: Mapping[str, Setting]) -> ExitCode:
    file = context_file()
    try:
        found = settings(given, file)
    except BadConfig as error:
        return _bad(screen, error)
    for key, option in OPTIONS.items():
        setting = found.get(key)
        text = Text(f"{key:<{KEY_WIDTH}} ", style="dim")
        if setting is None:
            text.append(f"not set ({option})", style="yellow")
        else:
            text.append(setting.value, style="default").append(f"  from {setting.origin}")
        screen.say(text)
    try:
        connection(found, file)
    except BadConfig as error:
        return _bad(screen, error)
    return ExitCode.DONE


def _checked(key: str, value: str) -> str:
    """Paths are kept absolute, for the file is read from any directory; addresses with their port."""
    if key != CONTROL:
        return str(Path(value).expanduser().absolute())
    try:
        return ",".join(address(part.strip()) for part in value.split(","))
    except ValueError as error:
        raise BadConfig([f"{OPTIONS[key]} = {value!r}: {error}"]) from error


def _bad(screen: Screen, error: BadConfig) -> ExitCode:
    for mistake in error.mistakes:
        screen.note(mistake, style="red")
    return ExitCode.BAD_INPUT
