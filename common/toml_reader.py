"""Reading a configuration file so that all mistakes are told at once (BadConfig).

Each question (`text`, `integer`, …) notes which key it asked for and what was wrong with the value, and
answers with something usable so that the reading goes on; `finish` adds the keys that nobody asked for and
raises everything together. A mistake names the file, the key, the value and the remedy. What the values
mean, and how they relate to each other, stays with the configuration that is read.
"""

from __future__ import annotations

import difflib
import os
import stat
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from common.errors import BadConfig

T = TypeVar("T")

SECRET_FILE_BYTES_MAX: Final = 4096


class Section:
    """One table of the file. `name` is its dotted path; empty for the top."""

    def __init__(self, file: TomlFile, name: str, values: Mapping[str, Any]) -> None:
        self._file, self.name, self._values = file, name, values
        self._asked: dict[str, None] = {}

    def __contains__(self, key: str) -> bool:
        self._asked.setdefault(key)
        return key in self._values

    def mistake(self, key: str, text: str) -> None:
        """For what only the caller can judge; the value is shown, so never call it on a secret."""
        shown = f" = {self._values[key]!r}" if key in self._values else ""
        self._file.mistakes.append(f"{self._file.path}: {self._path(key)}{shown}: {text}")

    def text(self, key: str, default: str | None = None, *, choices: Sequence[str] = ()) -> str:
        value: str = self._get(key, str, "a text in quotes", default, "")
        if choices and value not in choices and key in self._values and isinstance(self._values[key], str):
            self.mistake(key, f"use one of {', '.join(choices)}{did_you_mean(value, choices)}")
        elif not value and default != "" and isinstance(self._values.get(key), str):
            self.mistake(key, "must not be empty")
        return value

    def integer(self, key: str, default: int | None = None, *, low: int = 0, high: int = 2**63 - 1) -> int:
        value: int = self._get(key, int, "a whole number", default, low)
        if not low <= value <= high:
            self.mistake(key, f"must lie between {low} and {high}")
            return min(max(value, low), high)
        return value

    def port(self, key: str, default: int | None = None) -> int:
        return self.integer(key, default, low=1, high=65_535)

    def boolean(self, key: str, default: bool | None = None) -> bool:
        value: bool = self._get(key, bool, "true or false", default, False)
        return value

    def texts(self, key: str, default: Sequence[str] | None = None) -> tuple[str, ...]:
        value = self._get(key, list, 'a list of texts, ["…", "…"]', default, ())
        if all(isinstance(entry, str) for entry in value):
            return tuple(value)
        self.mistake(key, "every entry must be a text in quotes")
        return tuple(entry for entry in value if isinstance(entry, str))

    def checked(self, key: str, check: Callable[[str], T], default: str | None = None) -> T | None:
        """`check` raises ValueError with what is wrong and the remedy; None after a mistake."""
        before = len(self._file.mistakes)
        value = self.text(key, default)
        if len(self._file.mistakes) > before:
            return None
        try:
            return check(value)
        except ValueError as error:
            self.mistake(key, str(error))
            return None

    def path(self, key: str, default: str | None = None) -> Path:
        """A relative one counts from the folder of the configuration file."""
        text = self.text(key, default)
        return self._file.path.parent / text if text else Path()

    def file(self, key: str, default: str | None = None) -> Path:
        """A file that is there and that this process may read."""
        path = self.path(key, default)
        if path != Path():
            self._readable(key, path)
        return path

    def secret_file(self, key: str, default: str | None = None) -> Path:
        """As `file`, and nobody but its owner may read or write it."""
        path = self.path(key, default)
        if path != Path() and self._readable(key, path):
            mode = stat.S_IMODE(path.stat().st_mode)
            if mode & 0o077:
                self.mistake(key, f"others may read this secret (mode {mode:04o}); run: chmod 600 {path}")
        return path

    def secret(self, key: str, default: str | None = None) -> str:
        """The content of a secret file, without the white space around it. It is never shown."""
        path = self.secret_file(key, default)
        try:
            content = (
                path.read_bytes()[: SECRET_FILE_BYTES_MAX + 1].decode().strip() if path.is_file() else ""
            )
        except (OSError, UnicodeDecodeError):
            content = ""  # an unreadable file was told above; bytes that are no text are told as empty
        if not content and path.is_file() and os.access(path, os.R_OK):
            self.mistake(key, "the file is empty or not text; write the secret into it")
        return content

    def hex_secret(self, key: str, *, length: int) -> bytes:
        """A secret of exactly `length` bytes, written as hexadecimal digits."""
        text = self.secret(key)
        try:
            value = bytes.fromhex(text)
        except ValueError:
            value = b""
        if text and len(value) != length:
            self.mistake(key, f"the file must hold {2 * length} hexadecimal digits and nothing else")
        return value if len(value) == length else bytes(length)

    def section(self, key: str, *, required: bool = True) -> Section:
        value = self._get(key, dict, f"a section: [{self._path(key)}]", None if required else {}, {})
        return self._file.open_section(self._path(key), value)

    def sections(self, key: str, *, required: bool = True) -> tuple[Section, ...]:
        value = self._get(key, list, f"sections: [[{self._path(key)}]]", None if required else (), ())
        tables = [entry for entry in value if isinstance(entry, dict)]
        if len(tables) < len(value) or (required and key in self._values and not tables):
            self.mistake(key, f"write each one as a section of its own: [[{self._path(key)}]]")
        return tuple(
            self._file.open_section(f"{self._path(key)}[{number}]", table)
            for number, table in enumerate(tables, start=1)
        )

    def remaining(self) -> dict[str, Any]:
        """All values of a section whose keys are the operator's own."""
        for key in self._values:
            self._asked.setdefault(key)
        return dict(self._values)

    def note_unknown_keys(self) -> None:
        for key in self._values:
            if key not in self._asked:
                hint = did_you_mean(key, tuple(self._asked))
                known = ", ".join(sorted(self._asked)) or "nothing"
                self.mistake(key, f"no such key{hint}; known here: {known}")

    def _get(self, key: str, kind: type, meant: str, default: Any, instead: Any) -> Any:
        self._asked.setdefault(key)
        if key not in self._values:
            if default is None:
                self.mistake(key, f"is missing; add {meant}")
                return instead
            return default
        value = self._values[key]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            self.mistake(key, f"must be {meant}")
            return instead if default is None else default
        return value

    def _readable(self, key: str, path: Path) -> bool:
        if not path.is_file():
            self.mistake(key, f"there is no file {path}" if not path.exists() else f"{path} is not a file")
        elif not os.access(path, os.R_OK):
            self.mistake(key, f"this user (uid {os.geteuid()}) may not read {path}")
        else:
            return True
        return False

    def _path(self, key: str) -> str:
        return f"{self.name}.{key}" if self.name else key


class TomlFile:
    """`top` answers for the top level; `finish` must be called before anything is believed."""

    def __init__(self, path: Path, values: Mapping[str, Any]) -> None:
        self.path, self.mistakes, self._sections = path, list[str](), list[Section]()
        self.top = self.open_section("", values)

    @classmethod
    def read(cls, path: Path) -> TomlFile:
        """Raise BadConfig when there is no such file, or when it is not TOML."""
        path = path.absolute()
        try:
            content = path.read_text(encoding="utf-8")
        except OSError as error:
            raise BadConfig([f"{path}: cannot be read: {error.strerror}"]) from error
        except UnicodeDecodeError as error:
            raise BadConfig([f"{path}: is not UTF-8 text: {error}"]) from error
        try:
            return cls(path, tomllib.loads(content))
        except tomllib.TOMLDecodeError as error:
            raise BadConfig([f"{path}: is not valid TOML: {error}"]) from error

    def open_section(self, name: str, values: Mapping[str, Any]) -> Section:
        section = Section(self, name, values)
        self._sections.append(section)
        return section

    def finish(self) -> None:
        """Raise BadConfig with every mistake, unknown keys included."""
        for section in self._sections:
            section.note_unknown_keys()
        if self.mistakes:
            raise BadConfig(self.mistakes)


def did_you_mean(word: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
