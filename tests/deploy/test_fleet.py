"""The plan of a lab's hosts, the names of runs, and the files that the daemons must be able to read."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest

import agents.config
import orchestrator.config
from deploy.lab.files import Files, Tsig
from deploy.lab.fleet import Cluster, Fleet, NameServer, Plan, Wiring, plan_of
from deploy.lab.programs import Programs, User
from deploy.lab.run_folder import RunId
from deploy.lab.toml_text import Value, toml_text
from orchestrator.cli import cluster_file
from tests.needs import needs_postgresql


def files_of(plan: Plan, folder: Path) -> Files:
    me = User.ourselves()
    programs = Programs(
        python="python",
        code=folder,
        orchestrator=(),
        agent=(),
        cli=(),
        postgres_bin=needs_postgresql().path,
        etcd=Path("etcd"),
        etcd_version="3.4.23",
        named=None,
        postgres_user=me,
        control_user=me,
    )
    return Files(folder, plan, programs)


@pytest.mark.parametrize("wiring", list(Wiring))
def test_every_host_has_an_address_of_its_own(wiring: Wiring) -> None:
    plan = plan_of(Fleet(clusters=(Cluster("shop"), Cluster("books", members=("x", "y")))), wiring)
    addresses = [host.address for host in plan.hosts]
    assert len(set(addresses)) == len(addresses) == 3 + 1 + 1 + 5


def test_three_etcd_members_lie_beside_the_control_nodes_and_a_single_one_alone() -> None:
    beside = plan_of(Fleet(etcd_count=3), Wiring.NAMESPACES)
    alone = plan_of(Fleet(etcd_count=1), Wiring.NAMESPACES)
    assert [host.name for host in beside.etcd_hosts] == ["control1", "control2", "control3"]
    assert [host.name for host in alone.etcd_hosts] == ["etcd1"]


def test_without_bind_every_control_node_is_a_name_server() -> None:
    plan = plan_of(Fleet(name_server=NameServer.ANSWERER), Wiring.NAMESPACES)
    assert [address for address, _ in plan.name_servers] == [host.address for host in plan.control_hosts]


def test_all_mistakes_of_a_description_are_told_at_once() -> None:
    wrong = Fleet(zone="db.example", etcd_count=2, clusters=(Cluster("Shop", members=("A",)),))
    with pytest.raises(ValueError, match=r"etcd_count.*zone.*DNS label.*member 'A'"):
        plan_of(wrong, Wiring.NAMESPACES)


def test_two_loopback_labs_never_share_a_name_servers_port() -> None:
    ports = {plan_of(Fleet(), Wiring.LOOPBACK, loopback_net=net).ports.dns for net in range(64, 128)}
    assert len(ports) == 64


def test_the_owner_of_a_run_is_told_from_a_later_process_with_its_number() -> None:
    ours = RunId.of_this_process()
    assert RunId.parse(f"{ours}-control1") == ours
    assert ours.owner_lives()
    assert not RunId(os.getpid(), ours.owner_started - 1).owner_lives()
    assert RunId.parse("primacy-etcd-x1") is None


def test_written_toml_reads_back_as_it_was() -> None:
    document: dict[str, Value] = {
        "name": 'with "quotes" and \\',
        "count": 3,
        "on": True,
        "empty": [],
        "list": ["a", "b"],
        "table": {"inner": {"deep": 1}, "plain": "x"},
        "many": [{"n": 1}, {"n": 2, "sub": {"k": "v"}}],
    }
    assert tomllib.loads(toml_text(document)) == document


@pytest.mark.parametrize("name_server", list(NameServer))
def test_the_daemons_accept_the_files_that_the_lab_writes(tmp_path: Path, name_server: NameServer) -> None:
    plan = plan_of(Fleet(name_server=name_server), Wiring.LOOPBACK)
    files = files_of(plan, tmp_path)
    files.write_all(tsig=Tsig("primacy.", "hmac-sha256", "c2VjcmV0IHNlY3JldCBzZWNyZXQ="))
    for host in plan.control_hosts:
        assert orchestrator.config.read(files.config_file(host, "orchestrator")).name == host.control
    if os.geteuid() != 0:  # the agent refuses root
        for host in plan.member_hosts:
            assert agents.config.load(files.config_file(host, "agent")).member == host.member
    assert [member.name for member in cluster_file.read(files.cluster_file("shop")).members] == [
        "a",
        "b",
        "c",
    ]


def test_secrets_lie_in_files_that_only_their_owner_reads(tmp_path: Path) -> None:
    plan = plan_of(Fleet(name_server=NameServer.ANSWERER), Wiring.LOOPBACK)
    files_of(plan, tmp_path).write_all(tsig=None)
    secret = [*tmp_path.rglob("*.key"), *tmp_path.rglob("*.secret"), *tmp_path.rglob("*.password")]
    assert secret
    assert {path.stat().st_mode & 0o777 for path in secret} == {0o600}
