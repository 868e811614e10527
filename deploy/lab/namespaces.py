"""Hosts as network namespaces on one bridge (needs root, iproute2, nsenter and nft).

The bridge is in a namespace of its own, so the machine's own network has no route to the fleet and several
labs can use the same addresses. A counter on each port of the bridge counts the segments with FIN or RST
that a host has sent: it is what proves that a lost host fell silent instead of saying goodbye.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from deploy.lab.filters import CHAIN, TABLE, Drop, nft_rules
from deploy.lab.fleet import Host, Plan
from deploy.lab.processes import RUN_VARIABLE, Marks
from deploy.lab.run_folder import RunId

NAMESPACES = Path("/run/netns")
SWITCH = "switch"
COMMAND_WITHIN_S = 20.0


class NamespaceNetwork:
    cuts_links = True

    def __init__(self, plan: Plan, run: RunId) -> None:
        self._plan = plan
        self._run = run
        self._port = {host.name: f"p{index}" for index, host in enumerate(plan.hosts)}
        self._slow_cables: dict[str, subprocess.Popen[bytes]] = {}

    def build(self) -> None:
        _ip("netns add " + self._name(SWITCH))
        _ip(
            "link add br0 type bridge stp_state 0 forward_delay 0\nlink set br0 up", inside=self._name(SWITCH)
        )
        for host in self._plan.hosts:
            self.renew(host)
        _nft(_counting_rules(self._port.values()), inside=self._name(SWITCH))

    def remove(self) -> None:
        for cable in self._slow_cables.values():
            cable.kill()
            cable.communicate()
        remove_namespaces_of(self._run)

    def entering(self, host: Host, *, uid: int, gid: int) -> list[str]:
        return [
            "nsenter",
            f"--net={NAMESPACES / self._name(host.name)}",
            "-S",
            str(uid),
            "-G",
            str(gid),
            "--",
        ]

    def marks(self, host: Host) -> Marks:
        return Marks(_inode(self._name(host.name)), (), None)

    def cut(self, host: Host) -> None:
        _ip(f"link set {self._port[host.name]} down", inside=self._name(SWITCH))

    def heal(self, host: Host) -> None:
        _ip(f"link set {self._port[host.name]} up", inside=self._name(SWITCH))

    def filter(self, drops: Iterable[Drop]) -> None:
        _nft(nft_rules(drops, self._port), inside=self._name(SWITCH))

    def delay(self, host: Host, delay_ms: int) -> None:
        """The host's own end keeps its address; only where its cable meets the switch something is put between.

        The slow cable is plugged in once it runs: Python takes a while to start, and a link that is down so long is
        another fault."""
        self.straighten(host)
        port, switch = self._port[host.name], self._name(SWITCH)
        near, far = f"s{port}", f"r{port}"
        _ip(
            f"link add {near} type veth peer name {far}\nlink set {far} up\nlink set {near} up", inside=switch
        )
        command = [sys.executable, "-m", "deploy.lab.slow_cable", port, far, "--delay-ms", str(delay_ms)]
        cable = subprocess.Popen(
            ["nsenter", f"--net={NAMESPACES / switch}", "--", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=Path(__file__).resolve().parents[2],
            env={RUN_VARIABLE: str(self._run), "PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"},
            start_new_session=True,
        )
        self._slow_cables[host.name] = cable
        assert cable.stdout is not None
        if cable.stdout.readline() != b"carrying\n":
            raise RuntimeError(f"the slow cable of {host.name} did not start")
        # It holds on to the interfaces, whatever they are called. The filters know them by name.
        _ip(f"link set {port} nomaster", inside=switch)
        self._rename(port, f"q{port}")
        self._rename(near, port)
        _ip(f"link set {port} master br0", inside=switch)

    def _rename(self, old: str, new: str) -> None:
        """Without a break where the kernel can (6.2 and later): a link that was down takes up to a second to be seen
        as up again by its other end."""
        switch = self._name(SWITCH)
        try:
            _ip(f"link set {old} name {new}", inside=switch)
        except RuntimeError:
            _ip(f"link set {old} down\nlink set {old} name {new}\nlink set {new} up", inside=switch)

    def straighten(self, host: Host) -> None:
        cable = self._slow_cables.pop(host.name, None)
        if cable is None:
            return
        cable.kill()
        cable.communicate()
        port = self._port[host.name]
        _ip(f"link del {port}", inside=self._name(SWITCH))
        self._rename(f"q{port}", port)
        _ip(f"link set {port} master br0 up", inside=self._name(SWITCH))

    def forget(self, host: Host) -> None:
        self.straighten(host)
        _ip(f"link del {self._port[host.name]}", inside=self._name(SWITCH))
        _ip(f"netns del {self._name(host.name)}")

    def renew(self, host: Host) -> None:
        name, port = self._name(host.name), self._port[host.name]
        _ip(f"netns add {name}")
        _ip(
            f"link add {port} type veth peer name eth0 netns {name}\nlink set {port} master br0 up",
            inside=self._name(SWITCH),
        )
        _ip(f"link set lo up\naddr add {host.address}/16 dev eth0\nlink set eth0 up", inside=name)

    def ends_seen(self, host: Host) -> int | None:
        found = _run(
            ["nft", "-j", "list", "counter", "bridge", "lab", f"ends_{self._port[host.name]}"],
            inside=self._name(SWITCH),
        )
        for entry in json.loads(found)["nftables"]:
            if "counter" in entry:
                return int(entry["counter"]["packets"])
        raise RuntimeError(f"nft shows no counter: {found}")

    def _name(self, host: str) -> str:
        return f"{self._run}-{host}"


def can_have_namespaces() -> str | None:
    """Why namespaces can't be had here; None when they can. It tries, as containers forbid in many ways."""
    if os.geteuid() != 0:
        return "needs root"
    for program in ("ip", "nsenter", "nft"):
        if shutil.which(program) is None:
            return f"needs the program {program}"
    name = f"{RunId.of_this_process()}-trial"
    try:
        _ip(f"netns add {name}")
    except RuntimeError as error:
        return f"a network namespace was refused: {error}"
    try:
        _ip("link add br0 type bridge\nlink add p0 type veth peer name p1", inside=name)
        _nft(_counting_rules(["p0"]), inside=name)
    except RuntimeError as error:
        return f"a bridge, a pair of interfaces or a packet counter was refused: {error}"
    finally:
        _ip(f"netns del {name}")
    return None


def namespaces_of(run: RunId) -> list[str]:
    return sorted(path.name for path in NAMESPACES.glob("primacy-*") if RunId.parse(path.name) == run)


def runs_with_namespaces() -> set[RunId]:
    found = (RunId.parse(path.name) for path in NAMESPACES.glob("primacy-*"))
    return {run for run in found if run is not None}


def inodes_of(run: RunId) -> list[int]:
    return [inode for name in namespaces_of(run) if (inode := _inode(name)) is not None]


def remove_namespaces_of(run: RunId) -> None:
    """The switch first: with it every link goes, before any host's sockets are torn down."""
    names = sorted(namespaces_of(run), key=lambda name: not name.endswith(f"-{SWITCH}"))
    for name in names:
        _ip(f"netns del {name}")


def _inode(namespace: str) -> int | None:
    try:
        return (NAMESPACES / namespace).stat().st_ino
    except OSError:
        return None


def _counting_rules(ports: Iterable[str]) -> str:
    lines = [f"table bridge {TABLE} {{"]
    lines += [f"  counter ends_{port} {{ }}" for port in ports]
    lines += ["  chain seen {", "    type filter hook prerouting priority 0; policy accept;"]
    lines += [
        f'    iifname "{port}" ether type ip ip protocol tcp'
        f" tcp flags & (fin | rst) != 0 counter name ends_{port}"
        for port in ports
    ]
    lines += ["  }", f"  chain {CHAIN} {{", "    type filter hook forward priority 0; policy accept;"]
    return "\n".join([*lines, "  }", "}", ""])


def _ip(commands: str, *, inside: str | None = None) -> None:
    where = ["-n", inside] if inside else []
    _run(["ip", *where, "-batch", "-"], stdin=f"{commands}\n")


def _nft(rules: str, *, inside: str) -> None:
    _run(["nft", "-f", "-"], inside=inside, stdin=rules)


def _run(command: list[str], *, inside: str | None = None, stdin: str = "") -> str:
    entering = ["nsenter", f"--net={NAMESPACES / inside}", "--"] if inside else []
    done = subprocess.run(
        [*entering, *command],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=COMMAND_WITHIN_S,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed: {(done.stderr or done.stdout).strip()}")
    return done.stdout
