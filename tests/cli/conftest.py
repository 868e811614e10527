"""Scripted control nodes, and `primacy` run against them in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from orchestrator.cli.app import app
from tests.cli.scripted import Certificates, Node

Primacy = Callable[..., Result]


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def make_node(certificates: Certificates) -> Iterator[Callable[[], Node]]:
    made: list[Node] = []

    def make() -> Node:
        made.append(Node(certificates))
        return made[-1]

    yield make
    for node in made:
        node.dies()


@pytest.fixture
def node(make_node: Callable[[], Node]) -> Node:
    return make_node()


@pytest.fixture
def env(certificates: Certificates, tmp_path: Path) -> dict[str, str]:
    """What an operator would have set; without any context file."""
    return {
        "PRIMACY_TLS_CERT": str(certificates.certificate_file),
        "PRIMACY_TLS_KEY": str(certificates.key_file),
        "PRIMACY_TLS_CA": str(certificates.ca_file),
        "PRIMACY_CONTROL": "",
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "COLUMNS": "80",
    }


@pytest.fixture
def primacy(env: dict[str, str]) -> Primacy:
    """`primacy(nodes, "status", …)`: its exit code, stdout and stderr."""

    def run(nodes: list[Node] | list[str], *words: str, **more_env: str) -> Result:
        addresses = [node if isinstance(node, str) else node.address for node in nodes]
        return CliRunner().invoke(
            app,
            list(words),
            env={**env, "PRIMACY_CONTROL": ",".join(addresses), **more_env},
            catch_exceptions=False,
        )

    return run
