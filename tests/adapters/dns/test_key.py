"""Keys and addresses as operators write them; every mistake names its file and its remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import BadConfig
from orchestrator.egress.dns_key import ServerAddress, TsigKey, parse_key, read_key_file

SECRET = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd//8="
STATEMENT = f'key "primacy" {{\n\talgorithm hmac-sha256;\n\tsecret "{SECRET}";\n}};\n'
OLD_ONE = '/* key "old" { secret "x"; }; */\n'


def file_with(tmp_path: Path, text: str, mode: int = 0o600) -> Path:
    path = tmp_path / "tsig.key"
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(STATEMENT, id="as_tsig_keygen_writes_it"),
        pytest.param(f"// made by hand\n{STATEMENT}", id="with_a_comment"),
        pytest.param(OLD_ONE + STATEMENT.replace("//8=", "/z8="), id="old_one"),
        pytest.param(f'key primacy {{ algorithm "hmac-sha256"; secret {SECRET}; }};', id="quotes_elsewhere"),
    ],
)
def test_a_key_statement_is_read(tmp_path: Path, text: str) -> None:
    key = read_key_file(file_with(tmp_path, text), name="Primacy.")
    assert (key.name, key.algorithm, len(key.secret)) == ("primacy", "hmac-sha256", 32)


def test_the_secret_alone_needs_the_name_of_the_key(tmp_path: Path) -> None:
    path = file_with(tmp_path, f"{SECRET}\n")
    assert read_key_file(path, name="primacy.").secret == parse_key(STATEMENT, source="").secret
    with pytest.raises(BadConfig, match="key_name"):
        read_key_file(path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param(STATEMENT.replace("sha256", "md5"), "hmac-md5", id="algorithm"),
        pytest.param(STATEMENT.replace(SECRET, "c2hvcnQ="), "5 bytes", id="short"),
        pytest.param(STATEMENT.replace(SECRET, "!!!"), "base64", id="no_base64"),
        pytest.param(STATEMENT + STATEMENT, "2 keys", id="two"),
        pytest.param("key {}", "0 keys", id="none"),
        pytest.param(STATEMENT.replace("primacy", "other"), "other", id="another_name"),
    ],
)
def test_a_key_that_is_no_good_is_refused_with_the_file(tmp_path: Path, text: str, told: str) -> None:
    path = file_with(tmp_path, text)
    with pytest.raises(BadConfig, match=told) as caught:
        read_key_file(path, name="primacy")
    assert str(path) in str(caught.value)


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="chmod"):
        read_key_file(file_with(tmp_path, STATEMENT, 0o644))


def test_a_missing_file_is_an_operators_mistake(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="can't be read"):
        read_key_file(tmp_path / "absent.key")


@pytest.mark.covers("S88")
def test_a_secret_never_shows_in_a_log() -> None:
    assert "secret" not in repr(TsigKey("primacy", "hmac-sha256", b"very-secret-bytes"))


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1", ServerAddress("192.0.2.1", 53)),
        ("192.0.2.1:5353", ServerAddress("192.0.2.1", 5353)),
        ("2001:db8::1", ServerAddress("2001:db8::1", 53)),
        ("[2001:db8::1]", ServerAddress("2001:db8::1", 53)),
        ("[2001:db8::1]:5353", ServerAddress("2001:db8::1", 5353)),
    ],
)
def test_an_address_is_read(text: str, address: ServerAddress) -> None:
    assert ServerAddress.parse(text) == address
    assert ServerAddress.parse(str(address)) == address


@pytest.mark.parametrize("text", ["ns1.example", "192.0.2.1:", "192.0.2.1:x", "192.0.2.1:70000", "", "[::1"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(BadConfig):
        ServerAddress.parse(text)
