"""The last profile that a leader told, kept over a restart. Safety depends on none of its numbers, so a file
that is lost or unreadable means the default one."""

from __future__ import annotations

from pathlib import Path

from common import codec
from common.profile import DEFAULT, Profile

_FILE = "profile.json"


def load(folder: Path) -> Profile:
    try:
        return codec.decode((folder / _FILE).read_bytes(), Profile)
    except (OSError, ValueError):
        return DEFAULT


def save(folder: Path, profile: Profile) -> None:
    new = folder / f"{_FILE}.new"
    try:
        new.write_bytes(codec.encode(profile) + b"\n")
        new.rename(folder / _FILE)
    except OSError:
        return  # told again at the next connection
