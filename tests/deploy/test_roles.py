"""Which process is which, by its command line."""

from __future__ import annotations

import pytest

from deploy.lab.roles import Role, role_of


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["/usr/lib/postgresql/15/bin/postgres", "-D", "pg"], Role.POSTMASTER),
        (["postgres: app postgres 10.77.5.1(40000) INSERT waiting for 0/1"], Role.BACKEND),
        (["postgres: postgres postgres [local] idle"], None),
        (["postgres: primacy_probe postgres 10.77.1.1(1) idle"], None),
        (["postgres: walsender primacy_replication 10.77.10.2(1) streaming 0/1"], Role.WALSENDER),
        (["postgres: walreceiver streaming 0/1"], Role.WALRECEIVER),
        (["postgres: shop/a: walreceiver streaming 0/1"], Role.WALRECEIVER),
        (["postgres: shop/a: app postgres [local] idle"], Role.BACKEND),
        (["postgres: shop/a: checkpointer "], Role.CHECKPOINTER),
        (["postgres: startup recovering 000000010000000000000004"], Role.STARTUP),
        (["postgres: checkpointer "], Role.CHECKPOINTER),
        (["/e/bin/python", "-m", "agents.main", "--config", "agent.toml"], Role.AGENT),
        (["/e/bin/python", "-m", "agents.guard.main", "--config", "agent.toml"], Role.GUARD),
        (["/e/bin/python3.11", "-m", "orchestrator.main", "--config", "o.toml"], Role.ORCHESTRATOR),
        (["nsenter", "--net=x", "--", "python", "-m", "orchestrator.main"], None),
        (["/usr/bin/etcd", "--name", "etcd1"], Role.ETCD),
        (["/usr/sbin/named", "-g"], Role.NAMED),
        ([""], None),
        ([], None),
    ],
)
def test_a_command_line_tells_the_role(words: list[str], expected: Role | None) -> None:
    assert role_of(words, "app") is expected
