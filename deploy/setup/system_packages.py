"""Installing what is missing from the system's packages: as root, on Debian and its kin."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from deploy.setup import places
from deploy.setup.held_back import put_back, services_held_back
from deploy.setup.say import SetupProblem, say, step

LOCK = Path("/run/lock/primacy-setup.lock")
APT_WITHIN_S = 900
APT_ENDS_WITHIN_S = 300
# Installed by us for their programs only: they must not run after the next boot either.
UNITS = {"etcd-server": "etcd.service", "bind9": "named.service"}


def can_install() -> bool:
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def tidy_up_after_a_killed_run() -> None:
    """A run that was killed outright could not put back what it had laid out."""
    if not can_install():
        return
    with places.locked(LOCK):
        if put_back():
            say("removed what a killed set-up had left behind (policy-rc.d, createcluster.d)")


def install(packages: Sequence[str], *, log: Path) -> None:
    """Raises SetupProblem when that fails; services stay down, and no cluster is made."""
    with places.locked(LOCK), services_held_back(), log.open("w") as said:
        with step("asking the system's package index (apt-get update)"):
            # One broken source of somebody else's must not stop us: the installation will tell.
            _apt(["update"], said.fileno())
        if "postgresql" in packages:
            # Its common part first, so that we can ask it whether it has understood us.
            with step("installing postgresql-common"):
                _need(_apt(["install", "postgresql-common"], said.fileno()), log)
            if not _no_cluster_will_be_made():
                raise SetupProblem(
                    "postgresql-common would make a cluster of its own in spite of our createcluster.d; "
                    "install PostgreSQL yourself, or set PRIMACY_PGBIN"
                )
        with step(f"installing {', '.join(packages)} (services held back)"):
            _need(_apt(["install", *packages], said.fileno()), log)
        for package in packages:
            unit = UNITS.get(package)
            if unit is not None and shutil.which("systemctl") is not None:
                _run(["systemctl", "disable", unit], said.fileno(), within_s=60)
                say(f"{package} was installed for its program; its service {unit} is off")


def _apt(arguments: Sequence[str], said: int) -> bool:
    command = [
        "apt-get",
        "-q",
        "-y",
        "-o",
        "DPkg::Lock::Timeout=300",
        "-o",
        "Dpkg::Options::=--force-confdef",
        "-o",
        "Dpkg::Options::=--force-confold",
        arguments[0],
    ]
    if arguments[0] == "install":
        command.append("--no-install-recommends")
    return _run([*command, *arguments[1:]], said, within_s=APT_WITHIN_S)


def _run(command: Sequence[str], said: int, *, within_s: int) -> bool:
    """In a session of its own, so that ^C reaches us first and never cuts dpkg in the middle."""
    quiet = {"DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_SUSPEND": "1", "LC_ALL": "C.UTF-8"}
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=said,
        stderr=said,
        start_new_session=True,
        env=os.environ | quiet,
    )
    try:
        return child.wait(within_s) == 0
    except subprocess.TimeoutExpired:
        raise SetupProblem(f"{' '.join(command[:1])} took more than {within_s} s") from None
    finally:
        if child.poll() is None:
            _let_it_end(child)


def _let_it_end(child: subprocess.Popen[bytes]) -> None:
    """apt-get ends at once on SIGINT while it downloads, and after the present step while dpkg works."""
    say("waiting for apt-get to end before anything is put back")
    for number in (signal.SIGINT, signal.SIGTERM):
        child.send_signal(number)
        try:
            child.wait(APT_ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            continue
        return
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _no_cluster_will_be_made() -> bool:
    shown = subprocess.run(
        ["pg_conftool", "/etc/postgresql-common/createcluster.conf", "show", "-bs", "create_main_cluster"],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    return shown.stdout.strip() == "off"


def _need(succeeded: bool, log: Path) -> None:
    if not succeeded:
        last = "\n".join(log.read_text(errors="replace").splitlines()[-8:])
        raise SetupProblem(f"apt-get failed (all of it in {log}):\n{last}")
