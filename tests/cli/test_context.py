"""How the control nodes are reached: where each setting comes from, and what may be wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.cli.context import address
from tests.cli.conftest import Primacy
from tests.cli.scripted import Certificates, Node, cluster, status_reply


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("10.0.0.1", "10.0.0.1:7432"),
        ("db:99", "db:99"),
        ("[fd00::1]", "[fd00::1]:7432"),
        ("[fd00::1]:1", "[fd00::1]:1"),
    ],
)
def test_an_address_gets_the_default_port(text: str, whole: str) -> None:
    assert address(text) == whole


@pytest.mark.parametrize("text", ["", "fd00::1", "a:b", "a:0", "a:70000", "http://a:1"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"host:port|must lie between"):
        address(text)


def test_everything_that_is_missing_is_told_at_once(primacy: Primacy) -> None:
    result = primacy([], "status", PRIMACY_TLS_CERT="", PRIMACY_TLS_KEY="", PRIMACY_TLS_CA="")
    assert result.exit_code == 2
    assert not result.stdout
    for option in ("--control", "--tls-cert", "--tls-key", "--tls-ca"):
        assert option in result.stderr


def test_what_was_kept_is_used_and_can_be_shown(
    primacy: Primacy, node: Node, certificates: Certificates, env: dict[str, str]
) -> None:
    nothing = {"PRIMACY_TLS_CERT": "", "PRIMACY_TLS_KEY": "", "PRIMACY_TLS_CA": "", "COLUMNS": "200"}
    tls = ["--tls-cert", str(certificates.certificate_file), "--tls-key", str(certificates.key_file)]
    words = ["context", "set", "--control", node.address, *tls, "--tls-ca", str(certificates.ca_file)]
    assert primacy([], *words, **nothing).exit_code == 0
    file = Path(env["XDG_CONFIG_HOME"]) / "primacy" / "context.toml"
    assert file.stat().st_mode & 0o777 == 0o600

    node.says("Status", status_reply(cluster()))
    assert primacy([], "status", **nothing).exit_code == 0
    shown = primacy(["10.9.9.9:1"], "context", "show", **nothing).stdout
    assert "10.9.9.9:1  from environment PRIMACY_CONTROL" in shown
    assert f"from {file}" in shown


def test_a_context_file_that_others_may_write_is_not_believed(primacy: Primacy, env: dict[str, str]) -> None:
    file = Path(env["XDG_CONFIG_HOME"]) / "primacy" / "context.toml"
    file.parent.mkdir(parents=True)
    file.write_text('contrl = "10.0.0.1"\n')
    file.chmod(0o666)
    result = primacy([], "status", COLUMNS="400")
    assert result.exit_code == 2
    assert "others may write it (mode 0666); run: chmod 600" in result.stderr
    assert "did you mean 'control'?" in result.stderr


def test_a_key_that_others_may_read_is_not_used(
    primacy: Primacy, node: Node, certificates: Certificates, tmp_path: Path
) -> None:
    key = tmp_path / "open.key"
    key.write_bytes(certificates.key_file.read_bytes())
    key.chmod(0o644)
    result = primacy([node], "status", PRIMACY_TLS_KEY=str(key), COLUMNS="400")
    assert result.exit_code == 2
    assert "others may read it (mode 0644)" in result.stderr
    assert not node.asked


def test_a_key_of_another_certificate_is_noticed_before_dialling(
    primacy: Primacy, node: Node, certificates: Certificates, tmp_path: Path
) -> None:
    _, key = certificates.authority.issue("operator:ben").write(tmp_path, "ben")
    result = primacy([node], "status", PRIMACY_TLS_KEY=str(key), COLUMNS="400")
    assert result.exit_code == 2
    assert "does not go with tls.certificate_file" in result.stderr
