"""Whose data directory this is: a marker file in it, and a lock on it.

Clones and rewinds copy the source's marker, so one that names another member, or that says it was begun and
not finished, means a half-made directory (R13). The lock is on the directory itself: an empty one must stay
empty for initdb, and cloning never replaces it.
"""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

import msgspec

from agents.core.state import AgentState
from agents.postgres.config import InstanceConfig
from agents.postgres.files import read_text, replace_durably
from agents.postgres.processes import full_title
from common.errors import BadConfig

NAME = "primacy.marker"


@dataclass(frozen=True, slots=True)
class Marker:
    cluster: str
    member: str
    incarnation: str
    system_identifier: str
    half: str = ""
    """`clone`, `rewind` or `initdb` while one is under way."""


def read_marker(data_directory: Path) -> Marker | None:
    text = read_text(data_directory / NAME)
    if text is None:
        return None
    try:
        return msgspec.json.decode(text, type=Marker)
    except msgspec.DecodeError:
        return Marker("", "", "", "", half="unreadable")


def write_marker(config: InstanceConfig, marker: Marker) -> None:
    replace_durably(config.data_directory / NAME, msgspec.json.encode(marker), config.run_as)


def marker_of(state: AgentState) -> Marker:
    return Marker(state.cluster, state.member, state.incarnation, state.system_identifier)


def half_marker(config: InstanceConfig, what: str) -> Marker:
    return Marker(config.cluster, config.member, "", "", half=what)


def is_half_made(config: InstanceConfig, marker: Marker | None) -> bool:
    return marker is not None and (bool(marker.half) or bool(belongs_to(config, marker)))


def belongs_to(config: InstanceConfig, marker: Marker | None) -> str:
    """`cluster/member` of another member; empty where it is this one, or nobody is named."""
    if marker is None or marker.half or (marker.cluster, marker.member) == (config.cluster, config.member):
        return ""
    return f"{marker.cluster}/{marker.member}"


def lock_directory(config: InstanceConfig) -> int:
    """Answers a descriptor to keep open. Raise BadConfig when another agent has it, with both names."""
    directory = config.data_directory
    try:
        if not directory.exists():
            directory.mkdir(mode=0o700, parents=True)
            if config.run_as is not None:
                os.chown(directory, config.run_as.uid, config.run_as.gid)
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise BadConfig([f"postgres.data_directory {directory}: {error}"]) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        inode = os.fstat(handle).st_ino
        os.close(handle)
        raise BadConfig(
            [
                f"{config.cluster}/{config.member} can't have postgres.data_directory {directory}: "
                f"{_holder(directory, inode)} has it; give every member a directory of its own"
            ]
        ) from error
    return handle


def _holder(directory: Path, inode: int) -> str:
    marker = read_marker(directory)
    name = "another agent" if marker is None else f"{marker.cluster}/{marker.member}"
    for line in (read_text(Path("/proc/locks")) or "").splitlines():
        fields = line.split()
        if len(fields) > 5 and fields[1] == "FLOCK" and fields[5].rpartition(":")[2] == str(inode):
            return f"{name} (process {fields[4]}: {full_title(int(fields[4])) or 'unknown'})"
    return name
