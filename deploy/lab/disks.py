"""A disk of its own for each member: a file system in a file. It can be stalled, filled, and given back.

Stalling is `fsfreeze`: every write and every sync on the disk waits, reads from memory go on, so commits hang
while `SELECT 1` answers. It is the whole disk of the host: the agent's state lies on it too. A process that waits
for it can't be killed before the thaw, as with a real disk that does not answer. (Stopping the checkpointer or the
walwriter instead hangs no commit: a backend flushes its own WAL.)

By default the files lie in memory, so one host's writes don't slow another host's: all of this machine's hosts would
share one real disk otherwise. A sync is quick there, and figures from such a fleet are not those of a bench, whose
disks lie in the run's folder (`Fleet.disks_in_memory`).
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from deploy.lab.fault import Fault, now_us
from deploy.lab.files import Files
from deploy.lab.fleet import Host
from deploy.lab.mounts import COMMAND_WITHIN_S

BALLAST = "ballast"


class Disks:
    def __init__(self, files: Files, size_mib: int | None, *, in_memory: bool = True) -> None:
        self._files = files
        self._size_mib = size_mib
        self._in_memory = in_memory
        self._stalled: set[str] = set()

    def give(self, host: Host) -> None:
        """Mounts a new disk over the host's empty folder."""
        if self._size_mib is None:
            return
        folder, user = self._files.host_folder(host), self._files.user_of(host)
        images = self._files.folder / "disks"
        if not images.exists():
            images.mkdir(mode=0o700)
            if self._in_memory:
                size_mib = self._size_mib * len(self._files.plan.member_hosts) + 16
                _run("mount", "-t", "tmpfs", "-o", f"size={size_mib}m,mode=0700", "primacy-lab", str(images))
        image = images / f"{host.name}.img"
        with image.open("wb") as file:
            file.truncate(self._size_mib * 1024 * 1024)
        # -m 0: nothing is kept back for root, who is who fills it.
        options = f"lazy_itable_init=1,root_owner={user.uid}:{user.gid}"
        _run("mkfs.ext4", "-q", "-m", "0", "-E", options, str(image))
        _run("mount", "-o", "loop,noatime", str(image), str(folder))
        (folder / "lost+found").rmdir()
        folder.chmod(0o700)

    def stall(self, name: str) -> Fault:
        folder = self._folder(name)
        at_us = now_us()
        _run("fsfreeze", "--freeze", str(folder))
        self._stalled.add(name)
        return Fault("disk stalled", name, at_us)

    def resume(self, name: str) -> None:
        if name in self._stalled:
            _run("fsfreeze", "--unfreeze", str(self._folder(name)))
            self._stalled.discard(name)

    def fill(self, name: str) -> Fault:
        """Until not one block is free; what PostgreSQL had allocated before stays its own."""
        folder = self._folder(name)
        at_us = now_us()
        with (folder / BALLAST).open("wb") as file:
            step = 64 * 1024 * 1024
            end = 0
            while step >= 4096:
                try:
                    os.posix_fallocate(file.fileno(), end, step)
                    end += step
                except OSError:
                    step //= 2
        return Fault("disk full", name, at_us)

    def give_back(self, name: str) -> None:
        (self._folder(name) / BALLAST).unlink(missing_ok=True)

    @property
    def stalled(self) -> frozenset[str]:
        return frozenset(self._stalled)

    def mend_all(self) -> None:
        if self._size_mib is None:
            return
        for host in self._files.plan.member_hosts:
            self.resume(host.name)
            self.give_back(host.name)

    def _folder(self, name: str) -> Path:
        if self._size_mib is None:
            raise NotImplementedError("this fleet's members have no disks of their own (Fleet.disk_mib)")
        return self._files.host_folder(self._files.plan.host(name))


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_WITHIN_S, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed: {(done.stderr or done.stdout).strip()}")
