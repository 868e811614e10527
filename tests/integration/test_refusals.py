"""What is refused, on a living fleet: bad requests, bad files, bad datagrams, foreign directories, strangers.

Nothing that is refused changes anything: the record in etcd is compared before and after.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from common.assignment import Version
from common.datagram import BeatFrame, Flags, Header, member_id, member_key, seal
from common.ids import IncarnationId
from common.lsn import ZERO
from deploy.lab.fault import now_us
from deploy.lab.fleet import CLIENT_HOST, Host
from deploy.lab.witnessed import Witnessed
from tests.integration.fleets import (
    SMALL,
    WITHIN_S,
    asked_status,
    assert_nothing_lost,
    assert_writes_go_on,
    await_failover,
    eventually,
    final,
    living,
    member,
    metrics_of,
    operate,
    postmaster_pid,
    primacy,
    record,
    standbys,
)

pytestmark = [pytest.mark.real, pytest.mark.slow]

BAD_INPUT, REFUSED = 2, 3


@pytest.fixture(scope="module")
def fleet() -> Iterator[Witnessed]:
    with living(SMALL) as cluster:
        yield cluster


@pytest.fixture
def shop(fleet: Witnessed) -> Witnessed:
    fleet.whole(WITHIN_S)
    return fleet


@contextmanager
def nothing_changed(cluster: Witnessed) -> Iterator[None]:
    before = record(cluster)
    yield
    assert record(cluster) == before


# What people ask for


@pytest.mark.covers("S79", "S82")
def test_a_switchover_to_nobody_or_to_the_primary_is_refused_and_changes_nothing(shop: Witnessed) -> None:
    with nothing_changed(shop):
        code, steps = operate(shop, "switchover", "shop", "--to", "zoe")
        assert (code, final(steps)["kind"]) == (REFUSED, "refused")
        assert "zoe is not a member of shop; its members are a, b, c" in final(steps)["text"]
        code, steps = operate(shop, "switchover", "shop", "--to", shop.primary)
        assert (code, final(steps)["kind"]) == (REFUSED, "refused")
        assert f"{shop.primary} is the primary already" in final(steps)["text"]
    assert_writes_go_on(shop)


@pytest.mark.covers("S79")
def test_a_failover_of_a_healthy_primary_is_refused_without_force(shop: Witnessed) -> None:
    with nothing_changed(shop):
        code, steps = operate(shop, "failover", "shop")
        assert (code, final(steps)["kind"]) == (REFUSED, "refused")
        assert "--force" in final(steps)["text"]
    assert_writes_go_on(shop)


def test_an_unknown_cluster_is_refused_by_name(shop: Witnessed) -> None:
    for words in (("switchover", "shoe"), ("failover", "shoe"), ("status", "shoe"), ("history", "shoe")):
        done = primacy(shop, *words)
        assert done.returncode in (BAD_INPUT, REFUSED), words
        assert "shoe" in done.stdout + done.stderr


def test_a_strangers_certificate_can_not_ask_for_a_switchover(shop: Witnessed) -> None:
    agent = shop.lab.files.host_folder(shop.lab.plan.host(shop.host_of("b")))
    certificate = (f"PRIMACY_TLS_CERT={agent / 'daemon.crt'}", f"PRIMACY_TLS_KEY={agent / 'daemon.key'}")
    with nothing_changed(shop):
        as_agent = ("env", *certificate, *shop.lab.programs.cli, "switchover", "shop")
        done = shop.lab.run_on(CLIENT_HOST, as_agent)
        assert done.returncode == REFUSED, done.stdout + done.stderr
        assert "agent:shop/b" in done.stdout + done.stderr
        assert shop.lab.run_on(CLIENT_HOST, without_certificate(shop)).stdout.split() == ["UNAVAILABLE"] * 2
    assert_writes_go_on(shop)


def without_certificate(shop: Witnessed) -> tuple[str, ...]:
    """TLS with our authority but no certificate of the client's; then no TLS at all."""
    host = shop.lab.plan.control_hosts[0]
    where = f"{host.address}:{shop.lab.plan.ports.grpc}"
    ca_file = str(shop.lab.files.people / "ca.crt")
    ask = f"""
import grpc
from protos import operator_pb2 as pb, operator_pb2_grpc as rpc
with open({ca_file!r}, "rb") as file:
    tls = grpc.ssl_channel_credentials(file.read())
for channel in (grpc.secure_channel({where!r}, tls), grpc.insecure_channel({where!r})):
    with channel:
        try:
            list(rpc.OperatorStub(channel).Switchover(pb.SwitchoverRequest(cluster="shop"), timeout=5))
            print("ANSWERED")
        except grpc.RpcError as error:
            print(error.code().name)
"""
    return (shop.lab.programs.python, "-c", ask)


# Datagrams


@pytest.mark.covers("T69")
def test_bad_datagrams_are_counted_by_kind_and_dropped(shop: Witnessed) -> None:
    control = shop.lab.plan.control_hosts[0]
    heard = captured_beat(shop, control)
    sealed = seal(member_key(shop.lab.files.secrets.beat, "shop", "a", 1), a_beat("a"))
    forged = sealed[:-1] + bytes([sealed[-1] ^ 1])
    by_a_guest = seal(b"\x07" * 32, a_beat("a"))
    unknown = seal(member_key(shop.lab.files.secrets.beat, "shop", "zoe", 1), a_beat("zoe"))
    bad = {
        "truncated": [heard[:30], heard + bytes(600)],
        "foreign": [b"GET / HTTP/1.0\r\n\r\n" + bytes(60)],
        "wrong_version": [heard[:3] + b"\x02" + heard[4:]],
        "unknown_member": [unknown],
        "bad_tag": [forged, by_a_guest, heard[:-1]],
        "replayed": [heard, heard],
    }
    before = metrics_of(shop, control.name)
    with nothing_changed(shop):
        sent = [datagram.hex() for kind in bad.values() for datagram in kind]
        send = (
            "import socket, sys;"
            "out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM);"
            f"[out.sendto(bytes.fromhex(text), ({control.address!r}, {shop.lab.plan.ports.beat}))"
            " for text in sys.argv[1:]]"
        )
        assert shop.lab.run_on(CLIENT_HOST, (shop.lab.programs.python, "-c", send, *sent)).returncode == 0

        def counted(kind: str) -> float:
            name = f'primacy_beats_total{{outcome="{kind}"}}'
            return metrics_of(shop, control.name).get(name, 0) - before.get(name, 0)

        expected = {kind: len(datagrams) for kind, datagrams in bad.items()}
        eventually(lambda: {kind: counted(kind) for kind in bad} == expected, f"counted: {expected}")
        assert counted("accepted") > 0, "the members' own beats are heard all the while"
    assert shop.watch.newest is not None
    assert shop.watch.newest["diagnosis"] == "Healthy"
    assert_writes_go_on(shop)


def a_beat(name: str) -> BeatFrame:
    """Of a guest who would like to be this member: a boot id of his own, a claim of nothing."""
    header = Header(member_id("shop", name), 1, 4711, 1, 1)
    incarnation = IncarnationId("f" * 16)
    return BeatFrame(
        header, Version(99, 99), incarnation, "1", Flags(), 9, ZERO, ZERO, ZERO, None, None, None, None
    )


def captured_beat(shop: Witnessed, control: Host) -> bytes:
    """A real one, as somebody on the wire sees it."""
    capture = f"""
import socket, struct
wire = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
wire.settimeout(10)
while True:
    packet = wire.recv(2048)
    header = (packet[0] & 15) * 4
    if packet[9] == 17 and struct.unpack_from(">H", packet, header + 2)[0] == {shop.lab.plan.ports.beat}:
        print(packet[header + 8 :].hex())
        break
"""
    done = shop.lab.run_on(control.name, (shop.lab.programs.python, "-c", capture))
    assert done.returncode == 0, done.stderr
    return bytes.fromhex(done.stdout.strip())


# Files and directories


def test_a_wrong_file_of_a_control_node_names_all_its_mistakes_and_starts_nothing(shop: Witnessed) -> None:
    host = shop.lab.plan.control_hosts[0]
    right = shop.lab.files.config_file(host, "orchestrator").read_text()
    wrong = right.replace("http_port = 7433", 'http_port = "web"').replace("endpoints = ", "endpionts = ")
    wrong = wrong.replace('kind = "rfc2136"', 'kind = "telegraph"')
    done = started_with(shop, host, wrong, (*shop.lab.programs.orchestrator,))
    for mistake in ("http_port", "web", "endpionts", "kind", "telegraph"):
        assert mistake in done, done
    assert "wrong.toml" in done


def test_a_wrong_file_of_an_agent_names_all_its_mistakes_and_starts_nothing(shop: Witnessed) -> None:
    host = shop.lab.plan.member_host("shop", standbys(shop)[0])
    right = shop.lab.files.config_file(host, "agent").read_text()
    wrong = right.replace("port = 5432", "port = 543210").replace("bin_directory = ", "bin_dierctory = ")
    wrong = wrong.replace('member = "', 'member = "No-')
    before = postmaster_pid(shop, str(host.member))
    done = started_with(shop, host, wrong, (*shop.lab.programs.agent,))
    for mistake in ("port", "543210", "bin_dierctory", "bin_directory", "member", "No-"):
        assert mistake in done, done
    assert "wrong.toml" in done
    assert postmaster_pid(shop, str(host.member)) == before


def started_with(shop: Witnessed, host: Host, text: str, command: tuple[str, ...]) -> str:
    """What a daemon says of this file; it must end with 2."""
    file = shop.lab.files.host_folder(host) / "wrong.toml"
    file.write_text(text)
    file.chmod(0o644)
    code, said = run_as_daemon(shop, host, (*command, str(file)))
    assert code == BAD_INPUT, said
    return said


def run_as_daemon(shop: Witnessed, host: Host, command: tuple[str, ...]) -> tuple[int, str]:
    import subprocess

    process = shop.lab.launch_on(
        host.name,
        command,
        user=shop.lab.files.user_of(host),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        out, _ = process.communicate(timeout=30)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    return process.returncode, out.decode()


@pytest.mark.covers("S44")
def test_a_second_agent_on_a_directory_is_refused_and_the_first_one_named(shop: Witnessed) -> None:
    host = shop.lab.plan.member_host("shop", shop.primary)
    folder = shop.lab.files.host_folder(host)
    right = shop.lab.files.config_file(host, "agent").read_text()
    before = postmaster_pid(shop, shop.primary)
    agent = (shop.lab.programs.python, "-m", "agents.main", "--config")
    with nothing_changed(shop):
        code, said = run_as_daemon(shop, host, (*agent, str(shop.lab.files.config_file(host, "agent"))))
        assert code == BAD_INPUT
        assert str(folder / "state") in said
        second = own_state(shop, host, right.replace("7434", "7444").replace("7431", "7441"))
        code, said = run_as_daemon(shop, host, (*agent, str(second)))
        assert code == BAD_INPUT, said
        assert str(folder / "pg") in said
        assert "(process " in said
    assert postmaster_pid(shop, shop.primary) == before
    assert_writes_go_on(shop)


def own_state(shop: Witnessed, host: Host, text: str) -> Path:
    import os

    folder = shop.lab.files.host_folder(host)
    other, user = folder / "state2", shop.lab.files.user_of(host)
    other.mkdir(mode=0o700)
    os.chown(other, user.uid, user.gid)
    file = folder / "second.toml"
    file.write_text(text.replace(str(folder / "state"), str(other)))
    file.chmod(0o644)
    return file


@pytest.mark.covers("T28")
def test_a_directory_of_another_cluster_is_left_alone_and_both_identifiers_are_named(shop: Witnessed) -> None:
    name = standbys(shop)[-1]
    host = shop.lab.plan.member_host("shop", name)
    ours = shop.lab.files.data_directory(host)
    daemon = f"{host.name}/agent"
    identifier = shop.sql(shop.primary, "SELECT system_identifier FROM pg_control_system()").strip()
    agent = shop.lab.supervisor.daemon(daemon)
    shop.lab.supervisor.stop(daemon, how=signal.SIGTERM, within_s=WITHIN_S)
    aside = ours.with_name("pg-ours")
    ours.rename(aside)
    initdb = str(shop.lab.programs.postgres_bin / "initdb")
    code, said = run_as_daemon(shop, host, (initdb, "-D", str(ours), "-A", "trust", "--no-sync"))
    assert code == 0, said
    foreign = control_identifier(shop, host, ours)
    content = sorted(path.name for path in ours.iterdir())
    shop.lab.supervisor.start(agent)
    status = shop.watch.until(
        lambda s: foreign in member(s, name)["error"] and identifier in member(s, name)["error"],
        WITHIN_S,
        "both identifiers are named",
    )
    assert not status["whole"]
    assert sorted(path.name for path in ours.iterdir()) == content, "nothing was touched"
    assert_writes_go_on(shop)
    shop.lab.supervisor.stop(daemon, how=signal.SIGTERM, within_s=WITHIN_S)
    ours.rename(ours.with_name("pg-foreign"))
    aside.rename(ours)
    shop.lab.supervisor.start(agent)
    shop.whole(WITHIN_S)
    assert_nothing_lost(shop)


def control_identifier(shop: Witnessed, host: Host, directory: Path) -> str:
    program = str(shop.lab.programs.postgres_bin / "pg_controldata")
    _, said = run_as_daemon(shop, host, (program, "-D", str(directory)))
    (line,) = [line for line in said.splitlines() if "system identifier" in line]
    return line.split()[-1]


# Members that are missing


@pytest.mark.covers("S86")
def test_a_switchover_to_a_lost_member_is_refused_with_every_members_reason(shop: Witnessed) -> None:
    stays, gone = standbys(shop)
    shop.lab.faults.lose_host(shop.host_of(gone))
    shop.watch.until(lambda s: member(s, gone)["state"] == "silent", WITHIN_S, f"{gone} is silent")
    shop.watch.until(lambda s: gone not in s["rule"] and "->" not in s["rule"], WITHIN_S, "the rule shrank")
    with nothing_changed(shop):
        code, steps = operate(shop, "switchover", "shop", "--to", gone)
        assert (code, final(steps)["kind"]) == (REFUSED, "refused")
        refusals = {line["member"]: line for line in final(steps)["refusals"]}
        assert set(refusals) == {"a", "b", "c"}
        assert refusals[gone]["reason"] == "silent"
        assert "ms ago" in refusals[gone]["text"], "with the measured value"
        assert refusals[stays]["reason"] == "not_the_one_meant"
        assert refusals[shop.primary]["reason"] == "is_primary"
    assert_writes_go_on(shop)
    shop.lab.faults.restart_host(shop.host_of(gone))
    shop.start_poller(gone)
    shop.whole(WITHIN_S)
    assert_nothing_lost(shop)


@pytest.mark.covers("S61")
def test_without_a_quorum_of_seals_nobody_is_promoted_until_one_comes_back(shop: Witnessed) -> None:
    epoch, old = shop.epoch, shop.primary
    lost, left = standbys(shop)
    for name in (old, lost):
        shop.lab.faults.lose_host(shop.host_of(name))
    at_us = now_us()
    status = shop.watch.until(
        lambda s: member(s, lost)["state"] == "silent" and any("missing" in r["text"] for r in s["reasons"]),
        WITHIN_S,
        "telling who is missing",
    )
    (why,) = [r["text"] for r in status["reasons"] if "missing" in r["text"]]
    assert f"{lost}." in why
    # The leader may have begun to seal before it could know that the second one was lost too.
    assert (status["epoch"], status["phase"]) in ((epoch, "STABLE"), (epoch + 1, "SEALING"))
    with nothing_changed(shop):
        assert operate(shop, "switchover", "shop")[0] == REFUSED
        assert shop.sql(left, "SELECT pg_is_in_recovery()").strip() == "t"
    status = asked_status(shop)
    assert status["phase"] in ("STABLE", "SEALING")
    shop.lab.faults.restart_host(shop.host_of(lost))
    shop.start_poller(lost)
    after = await_failover(shop, epoch=epoch, at_us=at_us)
    assert after["primary"] in (lost, left)
    shop.lab.faults.restart_host(shop.host_of(old))
    shop.start_poller(old)
    shop.whole(WITHIN_S, epoch_at_least=epoch + 1)
    assert_nothing_lost(shop)
