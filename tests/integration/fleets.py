"""Living fleets for the tests beside this file: born, witnessed, and what is asked of them again and again.

Waits are generous, for a busy machine; no test here judges how fast something was (that is `make bench`).
"""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deploy.lab.fault import now_us
from deploy.lab.fleet import CLIENT_HOST, Fleet
from deploy.lab.lab import Lab, LabFailed
from deploy.lab.programs import Programs
from deploy.lab.witnessed import Status, Witnessed
from tests.needs import needs_bind, needs_etcd, needs_netns, needs_nft, needs_postgresql

SMALL = Fleet(control_count=2, etcd_count=1)
"""Enough for a leader that dies and another one that goes on; one etcd member, which nobody kills."""

WITHIN_S = 60.0


@contextmanager
def living(fleet: Fleet) -> Iterator[Witnessed]:
    """Born and whole, with the client writing and a poller at each member."""
    with started(fleet) as cluster:
        cluster.be_born()
        cluster.start_witnesses()
        yield cluster


@contextmanager
def started(fleet: Fleet) -> Iterator[Witnessed]:
    """All daemons were started; nothing was asked of them yet."""
    for need in (needs_postgresql, needs_etcd, needs_netns, needs_nft, needs_bind):
        need()
    with Lab(fleet, Programs.discover()) as lab:
        lab.start()
        cluster = Witnessed(lab)
        try:
            yield cluster
        finally:
            cluster.close()


def member(status: Status, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(line for line in status["members"] if line["name"] == name)
    return found


def standbys(cluster: Witnessed) -> list[str]:
    return [name for name in cluster.members if name != cluster.primary]


def asked_status(cluster: Witnessed) -> Status:
    """Asked now, not the newest that was pushed."""
    found: Status = json.loads(primacy(cluster, "status", cluster.cluster, "--json").stdout)
    return found


def record(cluster: Witnessed) -> tuple[int, dict[str, Any]]:
    """(mod-revision, document) as etcd has it: nobody of ours is asked."""
    lab = cluster.lab
    key = f"/primacy/v1/{lab.plan.fleet.name}/clusters/{cluster.cluster}/record"
    asked = json.dumps({"key": base64.b64encode(key.encode()).decode()})
    ask = (
        "import sys, urllib.request;"
        "url, body = sys.argv[1:];"
        "print(urllib.request.urlopen(url, body.encode(), timeout=5).read().decode())"
    )
    url = f"{lab.plan.etcd_endpoints[0]}/v3/kv/range"
    done = lab.run_on(CLIENT_HOST, (lab.programs.python, "-c", ask, url, asked))
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)["kvs"]
    return int(found["mod_revision"]), json.loads(base64.b64decode(found["value"]))


def primacy(cluster: Witnessed, *words: str) -> Any:
    return cluster.lab.primacy(*words)


def operate(cluster: Witnessed, *words: str) -> tuple[int, list[dict[str, Any]]]:
    """The exit code and the steps of a switchover or failover."""
    done = primacy(cluster, *words, "--json")
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def final(steps: list[dict[str, Any]]) -> dict[str, Any]:
    """There is one outcome, and it is the last that is said."""
    outcomes = [step for step in steps if step["kind"] != "progress"]
    assert outcomes == steps[-1:], steps
    return steps[-1]


def resolved(cluster: Witnessed, name: str = "") -> set[str]:
    """What the name server answers to a client."""
    server, port = cluster.lab.plan.name_servers[0]
    name = name or f"primary.{cluster.cluster}.{cluster.lab.plan.fleet.zone}"
    ask = (
        "import dns.message, dns.query, sys;"
        f"answer = dns.query.udp(dns.message.make_query({name!r}, 'A'), {server!r}, port={port}, timeout=5);"
        "print(*(item.address for rrset in answer.answer for item in rrset))"
    )
    done = cluster.lab.run_on(CLIENT_HOST, (cluster.lab.programs.python, "-c", ask))
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def addresses(cluster: Witnessed, *names: str) -> set[str]:
    return {cluster.lab.plan.member_host(cluster.cluster, name).address for name in names}


def await_failover(cluster: Witnessed, *, epoch: int, at_us: int) -> Status:
    """A later epoch than this is STABLE, and the client was acknowledged in it."""
    status = cluster.watch.until(
        lambda s: s["epoch"] > epoch and s["phase"] == "STABLE", WITHIN_S, f"STABLE after epoch {epoch}"
    )
    cluster.await_writes(max(at_us, now_us()), WITHIN_S)
    return status


def assert_nothing_lost(cluster: Witnessed) -> None:
    """Every row that the client or a poller was acknowledged is on the primary."""
    losses = cluster.losses()
    assert losses.acknowledged_count > 0
    assert losses.lost == ()
    assert losses.second_writes == ()


def assert_writes_go_on(cluster: Witnessed) -> None:
    """Acknowledged from now on."""
    cluster.await_writes(now_us(), WITHIN_S)


def eventually(true: Callable[[], bool], what: str, within_s: float = WITHIN_S) -> None:
    """For what nobody tells us when it happens."""
    ends_at = time.monotonic() + within_s
    while not true():
        if time.monotonic() > ends_at:
            raise LabFailed(f"not within {within_s:.0f} s: {what}")
        time.sleep(0.1)


def postmaster_pid(cluster: Witnessed, name: str) -> int:
    host = cluster.lab.plan.member_host(cluster.cluster, name)
    text = (cluster.lab.files.data_directory(host) / "postmaster.pid").read_text()
    return int(text.splitlines()[0])


def fetched(cluster: Witnessed, host: str, url: str) -> str:
    ask = f"import urllib.request; print(urllib.request.urlopen({url!r}, timeout=5).read().decode())"
    done = cluster.lab.run_on(host, (cluster.lab.programs.python, "-c", ask))
    assert done.returncode == 0, done.stderr
    return done.stdout


def metrics_of(cluster: Witnessed, control: str) -> dict[str, float]:
    """`name{labels}` → value of a control node, as Prometheus gets them."""
    host = cluster.lab.plan.host(control)
    text = fetched(cluster, control, f"http://{host.address}:{cluster.lab.plan.ports.http}/metrics")
    return {
        found[1]: float(found[2])
        for line in text.splitlines()
        if (found := re.match(r"([^#\s]\S*(?:\{.*\})?) ([0-9.eE+-]+)$", line))
    }


def log_of(cluster: Witnessed, daemon: str) -> str:
    path: Path = cluster.lab.supervisor.log_file(daemon)
    return path.read_text(errors="replace")
