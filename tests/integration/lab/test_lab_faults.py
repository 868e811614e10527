"""Each fault of the lab does what its name says, seen from the hosts, with stand-ins for the daemons."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.bench.plain import wait_for
from deploy.lab.filters import Carried, Way
from deploy.lab.fleet import Fleet, NameServer, Site, Wiring
from deploy.lab.lab import Lab
from deploy.lab.mounts import mounts_below
from deploy.lab.roles import Role
from deploy.lab.run_folder import RunId
from tests.integration.lab.conftest import stand_ins
from tests.integration.lab.test_lab import leavings
from tests.needs import needs_netns, needs_nft, needs_root

pytestmark = [pytest.mark.real, pytest.mark.slow]

FLEET = Fleet(
    control_count=2,
    etcd_count=1,
    name_server=NameServer.ANSWERER,
    client_count=2,
    sites=(Site("east", ("control1", "shop-a", "client2")),),
    disk_mib=128,
)
# Sends numbered datagrams and counts what comes back; or one TCP greeting.
ECHO = (
    "import socket, sys, threading\n"
    "where = (sys.argv[1], 9000)\n"
    "u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(where)\n"
    "t = socket.create_server(where); print('listening', flush=True)\n"
    "def greet():\n"
    "    while True:\n"
    "        c, _ = t.accept(); c.sendall(b'x' * 100000); c.close()\n"
    "threading.Thread(target=greet, daemon=True).start()\n"
    "while True:\n"
    "    raw, who = u.recvfrom(100); print('heard', flush=True); u.sendto(raw, who)\n"
)
ASK_UDP = (
    "import socket, sys\n"
    "u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.settimeout(0.3); back = 0\n"
    "for n in range(int(sys.argv[2])): u.sendto(str(n).encode(), (sys.argv[1], 9000))\n"
    "try:\n"
    "    while True: u.recv(100); back += 1\n"
    "except TimeoutError: print(back)\n"
)
ASK_TCP = (
    "import socket, sys\n"
    "try:\n"
    "    c = socket.create_connection((sys.argv[1], 9000), 0.3); n = 0\n"
    "    while got := c.recv(65536): n += len(got)\n"
    "    print(n)\n"
    "except OSError: print(0)\n"
)
# A datagram every 10 ms for some seconds; the longest time, in ms, in which none came back.
PATIENCE = (
    "import select, socket, sys, time\n"
    "u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.connect((sys.argv[1], 9000))\n"
    "print('asking', flush=True)\n"
    "last = now = time.monotonic(); longest = 0.0; ends = now + float(sys.argv[2])\n"
    "while now < ends:\n"
    "    u.send(b'x'); time.sleep(0.01); now = time.monotonic()\n"
    "    while select.select([u], [], [], 0)[0]:\n"
    "        u.recv(100); longest = max(longest, now - last); last = now\n"
    "print(round(1000 * max(longest, now - last)))\n"
)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    needs_root()
    needs_netns()
    needs_nft()
    with Lab(FLEET, stand_ins(), wiring=Wiring.NAMESPACES) as built:
        for host in ("shop-a", "shop-b"):
            command = (built.programs.python, "-c", ECHO, built.plan.host(host).address)
            echo = built.launch_on(host, command, stdout=subprocess.PIPE)
            assert echo.stdout is not None
            assert echo.stdout.readline() == b"listening\n"
        yield built


@pytest.fixture(autouse=True)
def mended(lab: Lab) -> Iterator[None]:
    yield
    lab.faults.mend_all()


def udp_back(lab: Lab, from_: str, to: str, count: int = 3) -> int:
    command = (lab.programs.python, "-c", ASK_UDP, lab.plan.host(to).address, str(count))
    return int(lab.run_on(from_, command).stdout)


def tcp_back(lab: Lab, from_: str, to: str) -> bool:
    command = (lab.programs.python, "-c", ASK_TCP, lab.plan.host(to).address)
    return int(lab.run_on(from_, command).stdout) == 100_000


def test_from_some_peers_only(lab: Lab) -> None:
    lab.faults.links.cut("shop-a", from_=("client",))
    assert (udp_back(lab, "client", "shop-a"), tcp_back(lab, "client", "shop-a")) == (0, False)
    assert (udp_back(lab, "client2", "shop-a"), tcp_back(lab, "client2", "shop-a")) == (3, True)
    lab.faults.links.heal("shop-a")
    assert udp_back(lab, "client", "shop-a") == 3


@pytest.mark.parametrize(("carried", "udp", "tcp"), [(Carried.UDP, 0, True), (Carried.TCP, 3, False)])
def test_one_protocol_and_not_the_other(lab: Lab, carried: Carried, udp: int, tcp: bool) -> None:
    lab.faults.links.cut("shop-a", carried=carried)
    assert (udp_back(lab, "client", "shop-a"), tcp_back(lab, "client", "shop-a")) == (udp, tcp)


def test_one_way(lab: Lab) -> None:
    """Asked from shop-a to shop-b: shop-b hears it when only the way into shop-a is cut."""
    lab.faults.links.cut("shop-a", way=Way.IN)
    assert udp_back(lab, "shop-a", "shop-b") == 0
    counted = lab.run_on("shop-b", ("cat", "/proc/net/snmp")).stdout
    received = int([line for line in counted.splitlines() if line.startswith("Udp:")][1].split()[1])
    assert received > 0


def test_a_share_is_lost(lab: Lab) -> None:
    lab.faults.links.cut("shop-a", way=Way.IN, percent=50)
    assert 50 < udp_back(lab, "client", "shop-a", 200) < 150


def test_a_site(lab: Lab) -> None:
    lab.faults.links.cut_site("east")
    assert (tcp_back(lab, "client2", "shop-a"), tcp_back(lab, "client", "shop-b")) == (True, True)
    assert (tcp_back(lab, "client", "shop-a"), tcp_back(lab, "client2", "shop-b")) == (False, False)
    lab.faults.links.heal("east")
    assert tcp_back(lab, "client", "shop-a")


def test_a_delay_goes_both_ways_and_carries_large_segments(lab: Lab) -> None:
    lab.faults.links.delay("shop-a", 40)
    wait_for(lambda: udp_back(lab, "client", "shop-a") == 3)
    began_s = time.monotonic()
    assert tcp_back(lab, "client", "shop-a")
    slow_s = time.monotonic() - began_s
    lab.faults.links.heal("shop-a")
    wait_for(lambda: udp_back(lab, "client", "shop-a") == 3)
    began_s = time.monotonic()
    assert tcp_back(lab, "client", "shop-a")
    assert slow_s - (time.monotonic() - began_s) > 0.1


def test_a_delay_comes_and_goes_without_a_break_of_the_link(lab: Lab) -> None:
    """A link that was down for a second is another fault: the primary's host would be taken for lost."""
    command = (lab.programs.python, "-c", PATIENCE, lab.plan.host("shop-a").address, "4")
    asking = lab.launch_on("client", command, stdout=subprocess.PIPE)
    assert asking.stdout is not None
    assert asking.stdout.readline() == b"asking\n"
    time.sleep(0.3)
    lab.faults.links.delay("shop-a", 20)
    time.sleep(0.5)
    lab.faults.links.heal("shop-a")
    out, _ = asking.communicate(timeout=30)
    assert int(out) < 300


def write_on(lab: Lab, host: str, bytes_count: int = 4096) -> subprocess.Popen[bytes]:
    """Writes and syncs a file on the host's disk; ends with 0 once that is done."""
    file = str(lab.files.host_folder(lab.plan.host(host)) / "written")
    program = (
        "import os, sys; f = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY | os.O_TRUNC); data = bytes(int(sys.argv[2]));"
        "sys.exit(os.write(f, data) != len(data) or os.fsync(f) is not None)"
    )
    return lab.launch_on(host, (lab.programs.python, "-c", program, file, str(bytes_count)))


def test_a_stalled_disk_keeps_writes_waiting_and_reads_go_on(lab: Lab) -> None:
    assert write_on(lab, "shop-a").wait(10) == 0
    lab.faults.disks.stall("shop-a")
    hanging = write_on(lab, "shop-a")
    assert write_on(lab, "shop-b").wait(10) == 0
    config = str(lab.files.config_file(lab.plan.host("shop-a"), "agent"))
    assert lab.run_on("shop-a", ("cat", config)).returncode == 0
    assert hanging.poll() is None
    lab.faults.disks.resume("shop-a")
    assert hanging.wait(10) == 0


def test_a_full_disk_refuses_writes_until_it_is_given_back(lab: Lab) -> None:
    lab.faults.disks.fill("shop-a")
    assert write_on(lab, "shop-a", 1 << 20).wait(10) != 0
    assert write_on(lab, "shop-b", 1 << 20).wait(10) == 0
    lab.faults.disks.give_back("shop-a")
    assert write_on(lab, "shop-a", 1 << 20).wait(10) == 0


def test_a_host_with_a_stalled_disk_can_be_lost(lab: Lab) -> None:
    lab.faults.disks.stall("shop-c")
    hanging = write_on(lab, "shop-c")
    lab.faults.lose_host("shop-c")
    assert hanging.wait(10) != 0
    assert lab.faults.pids_of("shop-c") == []


def test_a_daemon_with_a_clock_of_its_own(lab: Lab) -> None:
    host = lab.plan.host("control2")
    lab.start_daemon(host, "watch", ("/bin/sh", "-c", "cut -d. -f1 /proc/uptime; exec sleep 1000"))
    log = lab.supervisor.log_file("control2/watch")
    wait_for(lambda: log.read_text().strip() != "")
    lab.faults.stop_daemon("control2/watch")
    lab.faults.start_daemon("control2/watch", clock_shift_s=100_000)
    wait_for(lambda: len(log.read_text().split()) == 2)
    before_s, after_s = (int(word) for word in log.read_text().split())
    assert 100_000 <= after_s - before_s < 100_100


def test_one_process_of_a_host_by_its_role(lab: Lab) -> None:
    lab.start_etcd()
    (pid,) = lab.faults.pids_in("etcd1", Role.ETCD)
    lab.faults.signal_process("etcd1", Role.ETCD, signal.SIGKILL)
    wait_for(lambda: lab.faults.pids_in("etcd1", Role.ETCD) not in ([], [pid]))
    with pytest.raises(ProcessLookupError, match="no named runs on etcd1"):
        lab.faults.signal_process("etcd1", Role.NAMED, signal.SIGKILL)


def test_whatever_was_done_is_mended_at_once(lab: Lab) -> None:
    faults = lab.faults
    faults.links.cut("shop-a")
    faults.links.isolate("control1")
    faults.disks.stall("shop-b")
    faults.freeze_host("shop-b")
    faults.lose_host("control2")
    assert faults.out_of_action() == {"shop-a", "control1", "shop-b", "control2"}
    assert faults.mend_all() == ["control2"]
    assert faults.out_of_action() == frozenset()
    assert tcp_back(lab, "client", "shop-a")
    assert write_on(lab, "shop-b").wait(10) == 0


def test_whoever_belongs_to_a_site_that_is_cut_off_is_out_of_action_with_it(lab: Lab) -> None:
    lab.faults.links.cut_site("east")
    assert lab.faults.out_of_action() == {"control1", "shop-a", "client2"}
    lab.faults.links.delay("shop-b", 20)
    lab.faults.links.cut("shop-a", percent=20)
    lab.faults.links.cut("shop-b", carried=Carried.UDP)
    lab.faults.links.heal("east")
    assert lab.faults.out_of_action() == frozenset(), "who is slow, or loses some packets, does its part"
    lab.faults.links.heal_all()


def test_a_small_description_is_a_fleet_and_its_mistakes_are_told() -> None:
    wrong = replace(FLEET, client_count=0, disk_mib=1, sites=(Site("x", ("a",)), Site("y", ("a",))))
    assert len(list(wrong.mistakes())) == 3


A_LAB_IN_TROUBLE = """
import sys
from deploy.lab.fleet import Wiring
from deploy.lab.lab import Lab
from tests.integration.lab.conftest import stand_ins
from tests.integration.lab.test_lab_faults import FLEET, write_on
with Lab(FLEET, stand_ins(), wiring=Wiring.NAMESPACES) as lab:
    lab.start_members()
    lab.faults.links.delay("shop-a", 50)
    lab.faults.links.cut_site("east")
    lab.faults.disks.stall("shop-a")
    write_on(lab, "shop-a")
    lab.faults.freeze_host("shop-b")
    print(lab.run, lab.folder, flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda how: how.name)
def test_a_lab_that_is_interrupted_in_the_middle_of_its_faults_leaves_nothing_behind(
    lab: Lab, how: signal.Signals
) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", A_LAB_IN_TROUBLE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).resolve().parents[3],
    )
    with child:
        assert child.stdout is not None
        name, folder = child.stdout.readline().decode().split()
        run = RunId.parse(name)
        assert run is not None
        assert len(mounts_below(Path(folder))) == 4, "three disks, and the memory that they lie in"
        assert leavings(run)
        child.send_signal(how)
        child.wait(30)
    wait_for(lambda: not leavings(run) and not mounts_below(Path(folder)))
    loops = subprocess.run(
        ["losetup", "--list"], capture_output=True, text=True, timeout=10, check=False
    ).stdout
    assert folder not in loops
    assert lab.folder.exists(), "nobody else's lab is touched"
