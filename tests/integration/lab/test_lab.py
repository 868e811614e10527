"""The lab on real namespaces and processes, with stand-ins where the daemons will be."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.bench.plain import wait_for
from deploy.lab.faults import NO_NETWORK_CUT
from deploy.lab.fleet import Fleet, NameServer, Wiring
from deploy.lab.lab import Lab
from deploy.lab.namespaces import NAMESPACES
from deploy.lab.processes import is_live
from deploy.lab.run_folder import RunId, folders_of_runs
from deploy.lab.sweep import sweep_dead_runs
from tests.integration.lab.conftest import stand_ins
from tests.needs import needs_bind, needs_etcd, needs_netns, needs_nft, needs_postgresql

pytestmark = [pytest.mark.real, pytest.mark.slow]

# A peer that waits for one line and then holds the connection; it prints what became of it.
LISTEN = (
    "import socket, sys\n"
    "s = socket.create_server((sys.argv[1], 9000)); print('listening', flush=True)\n"
    "c, _ = s.accept(); c.recv(1); print('connected', flush=True)\n"
    "try: print('goodbye' if c.recv(1) == b'' else 'data', flush=True)\n"
    "except ConnectionResetError: print('reset', flush=True)\n"
)
TALK = (
    "import socket, sys, time\n"
    "c = socket.create_connection((sys.argv[1], 9000)); c.send(b'x'); time.sleep(1000)\n"
)
A_LAB_THAT_WAITS = """
import sys
from deploy.lab.fleet import Fleet, Wiring
from deploy.lab.lab import Lab
from tests.integration.lab.conftest import stand_ins
with Lab(Fleet(), stand_ins(), wiring=Wiring(sys.argv[1])) as lab:
    lab.start_control_nodes(); lab.start_members()
    print(lab.run, lab._janitor.pid, flush=True)
    sys.stdin.read()
"""


def talk_to(lab: Lab, speaker: str, listener: str) -> tuple[subprocess.Popen[bytes], subprocess.Popen[bytes]]:
    """An open TCP connection from one host to another."""
    address = lab.plan.host(listener).address
    python = lab.programs.python
    listening = lab.launch_on(listener, (python, "-c", LISTEN, address), stdout=subprocess.PIPE)
    assert listening.stdout is not None
    assert listening.stdout.readline() == b"listening\n"
    talking = lab.launch_on(speaker, (python, "-c", TALK, address))
    assert listening.stdout.readline() == b"connected\n"
    return talking, listening


def test_etcd_and_the_name_server_serve_on_their_hosts(lab: Lab) -> None:
    lab.start_etcd()
    lab.start_name_server()
    lab.start_control_nodes()
    lab.start_members()
    for host in ("control1", *(host.name for host in lab.plan.member_hosts)):
        wait_for(lambda host=host: bool(lab.faults.pids_of(host)))  # type: ignore[misc]


def test_daemons_run_as_ordinary_users(lab: Lab) -> None:
    lab.start_control_nodes()
    lab.start_members()
    for host, user in (("control1", lab.programs.control_user), ("shop-a", lab.programs.postgres_user)):
        wait_for(lambda host=host: bool(lab.faults.pids_of(host)))  # type: ignore[misc]
        for pid in lab.faults.pids_of(host):
            wait_for(lambda pid=pid, uid=user.uid: Path(f"/proc/{pid}").stat().st_uid == uid)  # type: ignore[misc]


def test_a_daemon_that_dies_is_started_again_unless_it_was_stopped(lab: Lab) -> None:
    lab.start_control_nodes()
    name = "control1/orchestrator"
    lab.faults.signal_daemon(name, signal.SIGKILL)
    wait_for(lambda: lab.supervisor.starts(name) == 2)
    lab.supervisor.stop(name)
    assert lab.supervisor.pid(name) is None
    assert "ended with SIGKILL" in lab.log_tail(name)


def test_a_lost_host_is_empty_and_comes_back_with_its_daemons(lab: Lab) -> None:
    lab.start_control_nodes()
    before = lab.faults.pids_of("control2")
    fault = lab.faults.lose_host("control2")
    if lab.network.cuts_links:
        assert lab.faults.pids_of("control2") == []
    else:
        assert fault.label == NO_NETWORK_CUT
        assert {Path(f"/proc/{pid}/stat").read_text().split()[2] for pid in before} == {"T"}
    lab.faults.restart_host("control2")
    wait_for(lambda: bool(lab.faults.pids_of("control2")))
    assert not set(before) & set(lab.faults.pids_of("control2"))


def test_a_lost_host_says_no_goodbye(cut_lab: Lab) -> None:
    _, listening = talk_to(cut_lab, "shop-a", "client")
    fault = cut_lab.faults.lose_host("shop-a")
    assert fault.ends_sent == 0
    assert listening.poll() is None  # it still waits for its peer


def test_killing_before_cutting_would_be_seen_by_the_counter(cut_lab: Lab) -> None:
    talking, listening = talk_to(cut_lab, "shop-a", "client")
    host = cut_lab.plan.host("shop-a")
    before = cut_lab.network.ends_seen(host) or 0
    talking.kill()
    assert listening.stdout is not None
    assert listening.stdout.readline() == b"goodbye\n"
    assert (cut_lab.network.ends_seen(host) or 0) > before


def test_an_isolated_host_lives_and_is_reached_again_after_healing(cut_lab: Lab) -> None:
    talking, listening = talk_to(cut_lab, "shop-a", "client")
    cut_lab.faults.links.isolate("shop-a")
    assert talking.poll() is None
    cut_lab.faults.links.heal("shop-a")
    talking.kill()
    assert listening.stdout is not None
    assert listening.stdout.readline() == b"goodbye\n"  # arrives, as the link is up again


def test_the_machines_own_network_gets_no_link_to_the_fleet() -> None:
    """By looking, not by sending: a packet that found no route to the fleet would leave for the world."""
    needs_netns()
    needs_nft()
    before = sorted(name for _, name in socket.if_nameindex())
    with Lab(Fleet(name_server=NameServer.ANSWERER), stand_ins(), wiring=Wiring.NAMESPACES):
        assert sorted(name for _, name in socket.if_nameindex()) == before


def test_nothing_is_left_after_the_end(lab: Lab) -> None:
    lab.start_control_nodes()
    pids = [pid for host in lab.plan.hosts for pid in lab.faults.pids_of(host.name)]
    lab.close()
    assert not leavings(lab.run)
    assert not [pid for pid in pids if is_live(pid)]


@pytest.mark.parametrize(
    ("wiring_name", "how"),
    [
        pytest.param("namespaces", signal.SIGKILL, id="namespaces_killed"),
        pytest.param("namespaces", signal.SIGTERM, id="namespaces_terminated"),
        pytest.param("namespaces", signal.SIGINT, id="namespaces_ctrl_c"),
        pytest.param("loopback", signal.SIGKILL, id="loopback_killed"),
    ],
)
def test_an_interrupted_lab_leaves_nothing_behind(wiring_name: str, how: signal.Signals) -> None:
    run, _ = end_a_lab(wiring_name, how, janitor_too=False)
    wait_for(lambda: not leavings(run))


def test_the_next_run_removes_what_a_run_and_its_janitor_left_behind() -> None:
    run, _ = end_a_lab("namespaces", signal.SIGKILL, janitor_too=True)
    assert leavings(run)
    assert run in sweep_dead_runs()
    assert not leavings(run)


def end_a_lab(wiring_name: str, how: signal.Signals, *, janitor_too: bool) -> tuple[RunId, int]:
    needs_postgresql()
    needs_etcd()
    needs_bind()
    if wiring_name == "namespaces":
        needs_netns()
    child = subprocess.Popen(
        [sys.executable, "-c", A_LAB_THAT_WAITS, wiring_name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).resolve().parents[3],
    )
    with child:
        assert child.stdout is not None
        name, janitor = child.stdout.readline().decode().split()
        run = RunId.parse(name)
        assert run is not None
        assert leavings(run)
        if janitor_too:
            os.kill(int(janitor), signal.SIGKILL)
        child.send_signal(how)
        child.wait(30)
    return run, int(janitor)


def leavings(run: RunId) -> list[str]:
    """Namespaces, folders and processes that carry the run's name."""
    found = [path.name for path in NAMESPACES.glob(f"{run}-*")] if NAMESPACES.is_dir() else []
    found += [folder.name for owner, folder in folders_of_runs() if owner == run]
    for entry in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"PRIMACY_LAB_RUN={run}".encode() in entry.read_bytes().split(b"\0"):
                found.append(entry.parent.name)
        except OSError:
            continue
    return found
