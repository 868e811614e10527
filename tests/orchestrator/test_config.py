"""A control node's configuration: the example is good, and everything wrong is told at once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from common.errors import BadConfig
from deploy.lab.ca import Authority
from orchestrator import config as configuration
from orchestrator.main import main
from tests.orchestrator.control_node import SECRET

EXAMPLE = Path(__file__).parents[2] / "deploy" / "examples" / "orchestrator.toml"


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """The example, with its files and folders where this test has them."""
    authority = Authority("test")
    certificate, key = authority.issue("control:control1").write(tmp_path, "control1")
    (tmp_path / "ca.crt").write_bytes(authority.certificate_pem)
    (tmp_path / "data").mkdir()
    for name, content in (
        ("beat.secret", SECRET.hex()),
        ("probe.password", "x"),
        ("canary.password", "hush-hush"),
        ("tsig.key", "c2VjcmV0" * 6),
    ):
        (tmp_path / name).touch(mode=0o600)
        (tmp_path / name).write_text(content)
    text = EXAMPLE.read_text()
    for old, new in (
        ("/etc/primacy/tls/control1.crt", certificate),
        ("/etc/primacy/tls/control1.key", key),
        ("/etc/primacy/tls/ca.crt", tmp_path / "ca.crt"),
        ("/etc/primacy/beat.secret", tmp_path / "beat.secret"),
        ("/etc/primacy/probe.password", tmp_path / "probe.password"),
        ("/etc/primacy/canary.password", tmp_path / "canary.password"),
        ("/etc/primacy/tsig.key", tmp_path / "tsig.key"),
        ("/var/lib/primacy/orchestrator", tmp_path / "data"),
    ):
        text = text.replace(str(old), str(new))
    path = tmp_path / "orchestrator.toml"
    path.write_text(text)
    return path


def mistakes(path: Path) -> tuple[str, ...]:
    with pytest.raises(BadConfig) as caught:
        configuration.read(path)
    return caught.value.mistakes


def test_the_example_is_a_good_configuration(example: Path) -> None:
    config = configuration.read(example)
    assert (config.name, config.address) == ("control1", "10.77.1.1:7432")
    assert config.beat_secret == SECRET
    assert [dns.zone for dns in config.dns] == ["db.example."]


@pytest.mark.covers("S88")
def test_no_secret_is_shown(example: Path) -> None:
    shown = repr(configuration.read(example))
    assert SECRET.hex() not in shown
    assert repr(SECRET) not in shown
    assert "c2VjcmV0" not in shown
    assert "PRIVATE KEY" not in shown
    assert "hush-hush" not in shown


def test_a_control_node_without_a_canary_needs_no_password_for_one(example: Path) -> None:
    config = configuration.read(example)
    assert config.canary is not None
    assert (config.canary.user, config.canary.password) == ("primacy_canary", "hush-hush")
    text = example.read_text()
    example.write_text(re.sub(r"(?m)^\[canary\](.*\n){3}", "", text))
    assert configuration.read(example).canary is None
    example.write_text(text.replace(str(example.parent / "canary.password"), "nowhere"))
    (told,) = mistakes(example)
    assert "canary.password_file" in told
    assert "there is no file" in told


def test_every_mistake_is_told_at_once_with_file_key_value_and_remedy(example: Path) -> None:
    text = example.read_text()
    text = re.sub(r"(?m)^name = .*", 'name = "Control 1"', text, count=1)
    text = text.replace("beat_port = 7430", "beat_port = 74300")
    text = text.replace("http_port = 7433", "http_port = 7432")
    text = text.replace('"http://10.77.1.2:2379"', '"10.77.1.2"')
    text = text.replace('kind = "rfc2136"', 'kind = "rfc2163"')
    text = text.replace('user = "primacy_probe"', 'usr = "primacy_probe"')
    example.write_text(text)
    (example.parent / "beat.secret").chmod(0o644)
    told = mistakes(example)
    for wanted in (
        "name = 'Control 1'",
        "listen.beat_port = 74300",
        "listen.http_port = 7432",
        "'10.77.1.2'",
        "dns[1].kind = 'rfc2163'",
        "probe.usr",
        "chmod 600",
    ):
        assert any(wanted in one for one in told), (wanted, told)
    assert all(str(example) in one for one in told)


def test_listening_everywhere_needs_to_say_where_the_others_find_us(example: Path) -> None:
    text = example.read_text().replace('address = "10.77.1.1"     # one', 'address = "0.0.0.0"     # one')
    example.write_text(re.sub(r"(?m)^\[advertise\](.*\n){3}", "", text))
    assert any("[advertise]" in one for one in mistakes(example))


def test_certificates_and_plain_addresses_of_etcd_do_not_go_together(example: Path) -> None:
    text = example.read_text().replace('"http://10.77.1.1:2379"', '"https://10.77.1.1:2379"')
    example.write_text(text)
    assert any("all https://" in one for one in mistakes(example))


def test_the_command_says_all_mistakes_and_ends_with_2(
    example: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--config", str(example), "--check-config"]) == 0
    (example.parent / "ca.crt").unlink()
    example.write_text(example.read_text().replace("grpc_port = 7432", 'grpc_port = "x"'))
    assert main(["--config", str(example)]) == 2
    told = capsys.readouterr().err
    assert "tls.ca_file" in told
    assert "listen.grpc_port" in told
