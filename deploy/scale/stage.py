"""One control node and one etcd for a fleet of a given size, on loopback, with what people applied stored.

The daemon is the real one, with the configuration that the lab writes; specifications and records come into etcd
by the control node's own code. Everything that is started here is ended here.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agents.config import AgentConfig, ControlAddress, PostgresConfig, TlsFiles
from common.clock import BootClock
from common.codec import encode
from common.errors import FailoverError
from deploy.lab.ca import Authority
from deploy.lab.etcd import etcd_command
from deploy.lab.files import KEY_GENERATION, Files, member_key
from deploy.lab.fleet import Cluster, Fleet, Host, NameServer, Plan, Wiring, plan_of
from deploy.lab.programs import Programs
from deploy.scale.crowd import Group, Member
from orchestrator.etcd.client import Client
from orchestrator.etcd.keyspace import Keyspace
from orchestrator.etcd.spec_store import EtcdSpecStore
from orchestrator.etcd.swap import swap

FLEET_NAME: Final = "scale"
STORED_AT_ONCE: Final = 64
_STOPS_WITHIN_S: Final = 15.0
_NOWHERE = Path("/nonexistent")


class StageFailed(Exception):
    """A part did not come up, or ended; words for people."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Of a process: CPU since its start, and what lies in memory now."""

    cpu_s: float
    rss_mib: float


class Stage:
    def __init__(self, folder: Path, programs: Programs, net: int) -> None:
        self._folder, self._programs = folder, programs
        # One small cluster, so that the lab's own code writes all files; nothing of it is started.
        fleet = Fleet(
            name=FLEET_NAME,
            control_count=1,
            etcd_count=1,
            clusters=(Cluster("unused"),),
            name_server=NameServer.ANSWERER,
        )
        self.plan: Plan = plan_of(fleet, Wiring.LOOPBACK, loopback_net=net)
        self._files = Files(folder, self.plan, programs)
        self._authority: Authority = self._files._authority
        self._clock = BootClock()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def control(self) -> Host:
        return self.plan.control_hosts[0]

    @property
    def beat_secret(self) -> bytes:
        return self._files.secrets.beat

    @property
    def beat_port(self) -> int:
        return self.plan.ports.beat

    async def start_etcd(self) -> None:
        self._files.write_all(tsig=None)
        self._start("etcd", etcd_command(self._files, self.plan.etcd_hosts[0]))

    async def store(self, groups: Sequence[Group]) -> dict[str, int]:
        """Specification and record of every cluster; the revisions of the records by cluster."""
        client = Client(self.plan.etcd_endpoints, clock=self._clock)
        keys = Keyspace(FLEET_NAME)
        specs = EtcdSpecStore(client, keys, self._clock)
        revisions: dict[str, int] = {}
        places = asyncio.Semaphore(STORED_AT_ONCE)

        async def store_one(group: Group) -> None:
            async with places:
                await specs.save(group.name, encode(group.spec), 0)
                record = encode(group.record(client.cluster_id or 0))
                revisions[group.name] = await swap(
                    client, self._clock, key=keys.record(group.name), body=record, expected=0, term=None
                )

        try:
            await self._until_etcd_answers(client)
            async with asyncio.TaskGroup() as tasks:
                for group in groups:
                    tasks.create_task(store_one(group))
        finally:
            await client.close()
        return revisions

    def start_control_node(self) -> None:
        config = self._files.config_file(self.control, "orchestrator")
        self._start("control", (sys.executable, "-m", "orchestrator.main", "--config", str(config)))

    def start_flock(self, members: Sequence[tuple[str, str, str, bool, int]], seed: int) -> None:
        document = {
            "address": self.control.address,
            "port": self.beat_port,
            "secret": self.beat_secret.hex(),
            "seed": seed,
            "members": members,
        }
        file = self._folder / "flock.json"
        file.write_text(json.dumps(document))
        self._start("flock", (sys.executable, "-m", "deploy.scale.flock", str(file)), talks=True)

    def flock_leaves(self, first_that_stays: str) -> None:
        """Whole agents play the members of the clusters before this one from now on."""
        flock = self._processes["flock"]
        assert flock.stdin is not None
        flock.stdin.write(first_that_stays.encode() + b"\n")
        flock.stdin.flush()

    async def flock_counts(self) -> dict[str, object]:
        """Since it was asked before."""
        flock = self._processes["flock"]
        assert flock.stdin is not None
        assert flock.stdout is not None
        flock.stdin.write(b"\n")
        flock.stdin.flush()
        line = await asyncio.to_thread(flock.stdout.readline)
        if not line:
            raise StageFailed(f"the flock ended: see {self._folder}/flock.log")
        counts: dict[str, object] = json.loads(line)
        return counts

    def usage(self, name: str) -> Usage:
        process = self._processes[name]
        if process.poll() is not None:
            raise StageFailed(f"{name} ended with {process.returncode}: see {self._folder}/{name}.log")
        return usage_of(process.pid)

    async def get(self, path: str) -> bytes:
        """Of the control node's HTTP port."""
        url = f"http://{self.control.address}:{self.plan.ports.http}{path}"

        def ask() -> bytes:
            with urllib.request.urlopen(url, timeout=30) as answer:
                body: bytes = answer.read()
                return body

        return await asyncio.to_thread(ask)

    def agent_config(self, member: Member) -> AgentConfig:
        """As an agent reads it from its file; keys and certificate are its own."""
        folder = self._folder / "agents"
        folder.mkdir(exist_ok=True)
        stem = f"{member.cluster}-{member.name}"
        issued = self._authority.issue(f"agent:{member.cluster}/{member.name}", addresses=(member.address,))
        certificate_file, key_file = issued.write(folder, stem)
        ca_file = folder / "ca.crt"
        ca_file.write_bytes(self._authority.certificate_pem)
        ports, control = self.plan.ports, self.control
        return AgentConfig(
            file=_NOWHERE,
            fleet=FLEET_NAME,
            cluster=member.cluster,
            member=member.name,
            state_directory=_NOWHERE,
            listen_address=member.address,
            peer_port=ports.peer,
            metrics_address=member.address,
            metrics_port=0,
            tls=TlsFiles(certificate_file, key_file, ca_file),
            beat_key=member_key(self.beat_secret, member.cluster, member.name),
            beat_key_generation=KEY_GENERATION,
            control=(ControlAddress(control.control or "", control.address, ports.beat, ports.grpc),),
            postgres=_NO_POSTGRES,
            log_level="warning",
            log_json=None,
        )

    def udp_drops(self) -> int:
        """What the kernel threw away at the control node's beat port, since it was bound."""
        wanted = f"{self.beat_port:04X}"
        drops = 0
        for line in Path("/proc/net/udp").read_text().splitlines()[1:]:
            fields = line.split()
            address, port = fields[1].split(":")
            octets = [str(int(address[i : i + 2], 16)) for i in (6, 4, 2, 0)]
            if port == wanted and ".".join(octets) == self.control.address:
                drops += int(fields[-1])
        return drops

    def stop(self) -> None:
        """The flock first: nobody beats at a port that is closed."""
        for name in ("flock", "control", "etcd"):
            process = self._processes.pop(name, None)
            if process is None:
                continue
            if process.stdin is not None:
                process.stdin.close()
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(_STOPS_WITHIN_S)
            if process.poll() is None:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()

    def _start(self, name: str, command: Sequence[str], *, talks: bool = False) -> None:
        with (self._folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                command,
                cwd=self._programs.code,
                env=_environment(self._programs.code),
                stdin=subprocess.PIPE if talks else subprocess.DEVNULL,
                stdout=subprocess.PIPE if talks else log,
                stderr=log,
                # As services are: a kernel that shares its cores out by sessions gives each of them its own part.
                start_new_session=True,
            )

    async def _until_etcd_answers(self, client: Client) -> None:
        for _ in range(100):
            try:
                await client.status()
                return
            except FailoverError:
                await asyncio.sleep(0.1)
        raise StageFailed(f"etcd did not answer: see {self._folder}/etcd.log")


def usage_of(pid: int) -> Usage:
    """From /proc; OSError where the process is gone."""
    stat = Path(f"/proc/{pid}/stat").read_text()
    fields = stat[stat.rindex(")") + 2 :].split()
    ticks = int(fields[11]) + int(fields[12])
    pages = int(fields[21])
    return Usage(ticks / os.sysconf("SC_CLK_TCK"), pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20))


def busy_s() -> float:
    """CPU of everything on this machine since its start."""
    user, nice, system, _idle, _waiting, irq, softirq, steal, *_ = (
        int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    )
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def _environment(code: Path) -> Mapping[str, str]:
    return {**os.environ, "PYTHONPATH": str(code), "GRPC_ENABLE_FORK_SUPPORT": "0"}


_NO_POSTGRES = PostgresConfig(
    bin_directory=_NOWHERE,
    data_directory=_NOWHERE,
    listen_addresses="",
    port=0,
    socket_directory=_NOWHERE,
    superuser="",
    replication_user="",
    replication_password_file=_NOWHERE,
    probe_user="",
    probe_password_file=_NOWHERE,
    canary_user="",
    canary_password_file=None,
    hba=(),
    settings={},
)
