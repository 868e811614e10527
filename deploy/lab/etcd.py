"""etcd as the lab runs it: its command line, waiting until it serves, and which member leads."""

from __future__ import annotations

import json
from collections.abc import Callable

from deploy.lab.files import Files
from deploy.lab.fleet import Host

# Shorter than etcd's defaults: losing etcd's own leader then costs about a second, not one and a half.
HEARTBEAT_MS = 50
ELECTION_MS = 500


def etcd_command(files: Files, host: Host) -> tuple[str, ...]:
    assert host.etcd is not None
    ports, address = files.plan.ports, host.address
    members = ",".join(
        f"{member.etcd}=http://{member.address}:{ports.etcd_peer}" for member in files.plan.etcd_hosts
    )
    return (
        str(files.programs.etcd),
        "--name", host.etcd,
        "--data-dir", str(files.host_folder(host) / "etcd"),
        "--listen-client-urls", f"http://{address}:{ports.etcd_client}",
        "--advertise-client-urls", f"http://{address}:{ports.etcd_client}",
        "--listen-peer-urls", f"http://{address}:{ports.etcd_peer}",
        "--initial-advertise-peer-urls", f"http://{address}:{ports.etcd_peer}",
        "--initial-cluster", members,
        "--initial-cluster-token", str(files.folder.name),
        "--heartbeat-interval", str(HEARTBEAT_MS),
        "--election-timeout", str(ELECTION_MS),
        "--logger", "zap",
        "--log-outputs", "stderr",
    )  # fmt: skip


def etcd_health_command(files: Files, host: Host) -> tuple[str, ...]:
    """Ends well when the member answers a linearizable question. By Python, as curl may be missing."""
    url = f"http://{host.address}:{files.plan.ports.etcd_client}/health"
    program = (
        "import sys, urllib.request as r; sys.exit(b'true' not in r.urlopen(sys.argv[1], timeout=2).read())"
    )
    return (files.programs.python, "-S", "-E", "-c", program, url)


def etcd_leader_host(files: Files, ask: Callable[[str, tuple[str, ...]], str]) -> str:
    """The host whose etcd member leads now. `ask` runs a command on a host and returns what it printed."""
    for host in files.plan.etcd_hosts:
        url = f"http://{host.address}:{files.plan.ports.etcd_client}/v3/maintenance/status"
        program = (
            "import sys, urllib.request as r; print(r.urlopen(sys.argv[1], b'{}', timeout=2).read().decode())"
        )
        said = ask(host.name, (files.programs.python, "-S", "-E", "-c", program, url))
        if not said.strip():
            continue  # this one does not answer
        status = json.loads(said)
        if status.get("leader") == status["header"]["member_id"]:
            return host.name
    raise LookupError("no etcd member says that it leads")
