"""The operator's file: what is read from it, and what is said of its mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import BadConfig
from orchestrator.cli.cluster_file import read

EXAMPLE = Path(__file__).parents[2] / "deploy" / "examples" / "cluster.toml"


def mistakes_in(tmp_path: Path, old: str, new: str) -> list[str]:
    """Of the example with one change, without the file's name."""
    text = EXAMPLE.read_text()
    assert old in text
    file = tmp_path / "shop.toml"
    file.write_text(text.replace(old, new, 1))
    with pytest.raises(BadConfig) as caught:
        read(file)
    assert all(mistake.startswith(str(file)) for mistake in caught.value.mistakes)
    return [mistake.removeprefix(f"{file}:") for mistake in caught.value.mistakes]


def test_the_example_is_read_whole() -> None:
    spec = read(EXAMPLE)
    assert (spec.name, spec.zone, spec.k) == ("shop", "db.example.", 1)
    assert not spec.canary
    assert [m.name for m in spec.members] == ["a", "b", "c"]
    assert spec.members[2].addresses == ("10.77.3.3",)


def test_an_address_may_be_a_list(tmp_path: Path) -> None:
    file = tmp_path / "shop.toml"
    file.write_text(EXAMPLE.read_text().replace('"10.77.3.1"', '["10.77.3.1", "fd00::1"]'))
    assert read(file).members[0].addresses == ("10.77.3.1", "fd00::1")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        pytest.param("k = 1", 'k = "1"', '6: k = "1": must be a whole number, such as 1', id="type"),
        pytest.param("k = 1", "kk = 1", "6: kk = 1: is not a known key; did you mean 'k'?", id="cluster_key"),
        pytest.param(
            "port = 5432",
            "prot = 5432",
            "15: member a: prot = 5432: is not a known key; did you mean 'port'?",
            id="key",
        ),
        pytest.param('host = "db1"', "", "member a: host: is missing; add a line such as", id="missing"),
        pytest.param(
            '"10.77.3.1"', '"db1.example"', 'address = "db1.example": must be an IPv4 or IPv6', id="address"
        ),
        pytest.param(
            'zone = "db.example."', 'zone = "db.example"', "4: zone: 'db.example' must be", id="zone"
        ),
        pytest.param('"quorum"', '"async"', "5: durability: 'async' is not built yet", id="async"),
        pytest.param('host = "db2"', 'host = "db1"', "give each a host of its own", id="host"),
        pytest.param("port = 5432", "port = 70000", "port: 70000 must lie between", id="port"),
        pytest.param(
            "canary = false", "canary = 1", "9: canary = 1: must be true or false, such as true", id="canary"
        ),
        pytest.param("[[member]]", "[member]", "TOML", id="table_and_array"),
        pytest.param(
            "nofailover = false", 'nofailover = "no"', 'nofailover = "no": must be true or false', id="truth"
        ),
    ],
)
def test_a_mistake_names_line_key_value_and_remedy(tmp_path: Path, old: str, new: str, said: str) -> None:
    (mistake,) = mistakes_in(tmp_path, old, new)
    assert said in mistake


def test_all_mistakes_are_told_at_once_from_the_top(tmp_path: Path) -> None:
    file = tmp_path / "shop.toml"
    file.write_text('name = "Shop_1"\nzone = "x"\nk = true\nprofil = "fast"\n[[member]]\nname = "a"\n')
    with pytest.raises(BadConfig) as caught:
        read(file)
    lines = [int(mistake.split(":")[1]) for mistake in caught.value.mistakes]
    assert lines == sorted(lines)
    assert {1, 2, 3, 4, 5} <= set(lines)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match=r"nowhere\.toml: can't be read: No such file"):
        read(tmp_path / "nowhere.toml")
