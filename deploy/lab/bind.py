"""A BIND of our own: its files, its command line, and (for tests) its process.

The zone is dynamic and its policy is as narrow as Primacy needs: one key may write A, AAAA and TXT
below the zone, nothing else. `write` makes the files, `command` says how to run it in the
foreground; a supervisor of the lab does the running. `NamedProcess` is for those without one.
"""

from __future__ import annotations

import base64
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

LISTENING_WITHIN_S = 10.0
BINARY_VARIABLE = "PRIMACY_NAMED"
_KEY_NAME = "primacy"
CONFINED_TO = Path("/var/cache/bind")
_READY = "running"  # named says so once all zones are loaded and its sockets are open
_DENIED = "permission denied"


class NamedFailed(Exception):
    """named did not come up; the text says why, and what to do."""


@dataclass(frozen=True, slots=True)
class BindFiles:
    folder: Path
    configuration: Path
    key: Path  # a key statement, as tsig-keygen writes it
    secret: Path  # the base64 secret of that key alone
    log: Path
    address: str
    port: int
    zone: str
    key_name: str = _KEY_NAME


def find_named() -> Path | None:
    """PRIMACY_NAMED (`none`: none), or the one on the PATH (Debian keeps it in /usr/sbin)."""
    chosen = os.environ.get(BINARY_VARIABLE)
    if chosen == "none":  # the set-up's word for: as if there were none
        return None
    found = chosen or shutil.which("named") or shutil.which("named", path="/usr/sbin:/usr/local/sbin")
    return Path(found) if found else None


def write(
    folder: Path,
    *,
    address: str,
    port: int,
    zone: str,
    clusters: Iterable[str] | None = None,
    owner: tuple[int, int] | None = None,
    secret: str | None = None,
) -> BindFiles:
    """Make the folder's files. `clusters`: only their names may be written (None: any below the zone).

    `owner` (uid, gid) gets the folder, because named writes its journal there.
    """
    zone = zone.rstrip(".")
    secret = secret or base64.b64encode(secrets.token_bytes(32)).decode()
    files = BindFiles(
        folder=folder,
        configuration=folder / "named.conf",
        key=folder / "primacy.key",
        secret=folder / "primacy.secret",
        log=folder / "named.log",
        address=address,
        port=port,
        zone=zone,
    )
    folder.mkdir(parents=True, exist_ok=True)
    _write_private(
        files.key, f'key "{_KEY_NAME}" {{\n\talgorithm hmac-sha256;\n\tsecret "{secret}";\n}};\n', owner
    )
    _write_private(files.secret, secret + "\n", owner)
    files.configuration.write_text(_configuration(files, clusters))
    zone_file = folder / f"{zone}.zone"
    if not zone_file.exists():  # a name server that comes back keeps what it was told
        zone_file.write_text(_zone(zone, address))
    if owner is not None:
        for path in (folder, files.configuration, zone_file):
            os.chown(path, *owner)
    return files


def command(binary: Path, files: BindFiles) -> list[str]:
    """In the foreground, log to stderr, one worker: a lab asks little of it."""
    return [str(binary), "-g", "-n", "1", "-c", str(files.configuration)]


class NamedProcess:
    """named as a child of this process, ended by its pid."""

    def __init__(self, binary: Path, files: BindFiles, *, user: tuple[int, int] | None = None) -> None:
        self._binary = binary
        self.files = files
        self._user = user
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        if self._child is None:
            raise RuntimeError("named was not started")
        return self._child.pid

    def start(self) -> None:
        """Return once it answers; raise NamedFailed with what it said otherwise."""
        with self.files.log.open("wb") as log:
            self._child = subprocess.Popen(
                [*_dying_with_us(), *command(self._binary, self.files)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.files.folder,
                user=None if self._user is None else self._user[0],
                group=None if self._user is None else self._user[1],
                extra_groups=None if self._user is None else [],
                start_new_session=True,
            )
        ends_at = time.monotonic() + LISTENING_WITHIN_S
        while not is_ready(self.files):
            if self._child.poll() is not None or time.monotonic() > ends_at:
                self.kill()
                raise NamedFailed(explain(self.files))
            time.sleep(0.01)

    def stop(self) -> None:
        if self._child is not None:
            self._child.terminate()
            try:
                self._child.wait(5)
            except subprocess.TimeoutExpired:
                self.kill()
            self._child = None

    def kill(self) -> None:
        """SIGKILL: no chance to write anything down."""
        if self._child is not None:
            self._child.kill()
            self._child.wait(5)
            self._child = None


def _dying_with_us() -> list[str]:
    """A test run that is killed must not leave its name server behind."""
    setpriv = shutil.which("setpriv")
    return [] if setpriv is None else [setpriv, "--pdeathsig", "KILL", "--"]


def is_ready(files: BindFiles) -> bool:
    try:
        lines = files.log.read_text(errors="replace").splitlines()
    except OSError:
        return False
    return any(line.endswith(f" {_READY}") for line in lines)


def explain(files: BindFiles) -> str:
    """Why named is not there, from its log; the trap that catches people is named with its remedy."""
    lines = files.log.read_text(errors="replace").splitlines() if files.log.exists() else []
    said = "\n".join(lines[-8:]) or "it said nothing"
    if any(_DENIED in line for line in lines) or not lines:
        if app_armor_confines_named():
            return (
                f"named may not use {files.folder}: AppArmor (/etc/apparmor.d/usr.sbin.named) allows it only"
                " /etc/bind (read), /var/lib/bind and /var/cache/bind. Use a folder below /var/lib/bind, or a"
                f" named elsewhere by {BINARY_VARIABLE}, or add the folder to"
                f" /etc/apparmor.d/local/usr.sbin.named. named said:\n{said}"
            )
        if lines:
            return f"named may not use {files.folder}: give the folder to the user that runs it.\n{said}"
    return f"named did not come up on {files.address} port {files.port}:\n{said}"


def app_armor_confines_named() -> bool:
    """Whether Debian's profile for /usr/sbin/named is in force; CONFINED_TO is then where it may write."""
    try:
        loaded = Path("/sys/kernel/security/apparmor/profiles").read_text()
    except OSError:
        # Not ours to read as an ordinary user: then an enabled AppArmor with that profile is suspect enough.
        enabled = Path("/sys/module/apparmor/parameters/enabled")
        profile = Path("/etc/apparmor.d/usr.sbin.named")
        return enabled.exists() and enabled.read_text().startswith("Y") and profile.exists()
    return any(line.split(" ")[0] in {"named", "/usr/sbin/named"} for line in loaded.splitlines())


def _write_private(path: Path, text: str, owner: tuple[int, int] | None) -> None:
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    if owner is not None:
        os.chown(path, *owner)


def _configuration(files: BindFiles, clusters: Iterable[str] | None) -> str:
    if clusters is None:
        grants = [f"wildcard *.{files.zone}. A AAAA TXT"]
    else:
        names = [f"{kind}.{cluster}.{files.zone}" for cluster in clusters for kind in ("primary", "replicas")]
        grants = [f"name {name}. A AAAA TXT" for name in names]
    policy = "\n".join(f'\t\tgrant "{_KEY_NAME}" {grant};' for grant in grants)
    version_6 = ":" in files.address
    listen = f"port {files.port} {{ {files.address}; }}"
    return f"""include "{files.key}";
options {{
	directory "{files.folder}";
	listen-on {"{ none; }" if version_6 else listen};
	listen-on-v6 {listen if version_6 else "{ none; }"};
	pid-file none;
	lock-file none;
	session-keyfile "{files.folder}/session.key";
	recursion no;
	dnssec-validation no;
	empty-zones-enable no;
	allow-transfer {{ none; }};
	notify no;
	minimal-responses yes;
}};
controls {{ }};
zone "{files.zone}" {{
	type primary;
	file "{files.zone}.zone";
	update-policy {{
{policy}
	}};
}};
"""


def _zone(zone: str, address: str) -> str:
    kind = "AAAA" if ":" in address else "A"
    return f"""$ORIGIN {zone}.
$TTL 60
@	SOA ns1 hostmaster ( 1 3600 600 604800 1 )
@	NS ns1
ns1	{kind} {address}
"""
