"""The agent's file: every mistake at once, each with file, key, value and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from agents.config import load
from common.errors import BadConfig
from deploy.lab.ca import Authority
from tests.agents.leader import Leader, write_config


@pytest.fixture
def file(tmp_path: Path) -> Path:
    authority = Authority("test")
    return write_config(tmp_path, authority, [Leader(authority, beat_port=7430, grpc_port=7432)])


def mistakes(file: Path) -> tuple[str, ...]:
    with pytest.raises(BadConfig) as caught:
        load(file)
    return caught.value.mistakes


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_a_good_file_is_read_and_paths_count_from_its_folder(file: Path) -> None:
    config = load(file)
    assert config.member == "a"
    assert config.postgres.data_directory == file.parent / "data"
    assert len(config.beat_key) == 32
    assert config.beat_key.hex() not in repr(config)


def test_the_canary_is_optional_and_has_a_role_of_its_own(file: Path) -> None:
    assert load(file).postgres.canary_password_file is None
    change(file, "port = 15432", 'port = 15432\ncanary_password_file = "canary.password"')
    assert "there is no file" in "\n".join(mistakes(file))
    (file.parent / "canary.password").touch(mode=0o600)
    (file.parent / "canary.password").write_text("c")
    found = load(file).postgres
    assert (found.canary_user, found.canary_password_file) == (
        "primacy_canary",
        file.parent / "canary.password",
    )
    change(file, "port = 15432", 'port = 15432\ncanary_user = "primacy_probe"')
    assert "canary_user = 'primacy_probe': must be a role of its own" in "\n".join(mistakes(file))


def test_all_mistakes_are_told_at_once(file: Path) -> None:
    change(file, 'member = "a"', 'member = "A!"')
    change(file, "port = 15432", 'port = "x"\nprot = 1')
    change(file, 'state_directory = "state"\n', "")
    (file.parent / "beat.key").chmod(0o644)
    told = "\n".join(mistakes(file))
    assert "member = 'A!'" in told
    assert "postgres.port = 'x': must be a whole number" in told
    assert "postgres.prot = 1: no such key; did you mean 'port'?" in told
    assert "state_directory: is missing" in told
    assert "chmod 600" in told
    assert all(line.startswith(str(file)) for line in told.splitlines())


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        pytest.param(
            'socket_directory = "s"', f'socket_directory = "{"s" * 90}"', "under 90", id="long_socket"
        ),
        pytest.param('"host all', '"hots all', "does not begin with", id="hba"),
        pytest.param("port = 15432", "port = 1\n[postgres.settings]\nfsync = false", "owns this", id="owned"),
        pytest.param(
            'state_directory = "state"', 'state_directory = "data/x"', "a clone", id="state_in_data"
        ),
        pytest.param("grpc_port = 7432", "grpc_port = 0", "between 1 and 65535", id="port"),
        pytest.param('address = "127.0.0.1"\nbeat', 'address = "db1"\nbeat', "IP address", id="host_name"),
        pytest.param("[beats]", "[beat]", "a section: [beats]", id="section"),
        pytest.param('cluster = "shop"', "cluster = ", "not valid TOML", id="not_toml"),
    ],
)
def test_a_mistake_names_its_remedy(file: Path, old: str, new: str, told: str) -> None:
    change(file, old, new)
    assert told in "\n".join(mistakes(file))


@pytest.mark.covers("S88")
def test_a_secret_is_never_shown(file: Path) -> None:
    (file.parent / "beat.key").write_text("abcdefsecret")
    assert "abcdefsecret" not in "\n".join(mistakes(file))


def test_a_missing_file_is_a_mistake(tmp_path: Path) -> None:
    assert "cannot be read" in mistakes(tmp_path / "none.toml")[0]
