"""The versions of names, and the differences between what a server says and what is wanted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.names import (
    NameAnswer,
    NameVersion,
    ServerAnswer,
    WantedNames,
    differences,
    disagreements,
    normal_addresses,
)

WANTED = WantedNames("main", "Db.Lab.", 7, 4711, primary=("10.0.0.1",), replicas=("10.0.0.3", "10.0.0.2"))
TEXT = '"primacy v=1 epoch=7 revision=4711"'


def says(
    *,
    primary: tuple[str, ...] = ("10.0.0.1",),
    replicas: tuple[str, ...] = ("10.0.0.2", "10.0.0.3"),
    primary_texts: tuple[str, ...] = (TEXT,),
    replicas_texts: tuple[str, ...] = (TEXT,),
) -> ServerAnswer:
    return ServerAnswer("ns1", NameAnswer(primary, primary_texts), NameAnswer(replicas, replicas_texts))


def test_names_are_those_of_the_interface_and_zones_are_normalised() -> None:
    assert (WANTED.primary_name, WANTED.replicas_name) == ("primary.main.db.lab", "replicas.main.db.lab")


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1))
def test_a_version_survives_its_text(epoch: int, revision: int) -> None:
    version = NameVersion(epoch, revision)
    assert NameVersion.parse(version.text) == version


@pytest.mark.parametrize(
    "text",
    [
        "",
        "v=spf1 -all",
        "primacy v=2 epoch=7 revision=1",
        "primacy v=1 epoch=07 revision=1",
        "primacy v=1 epoch=-7 revision=1",
        "primacy v=1 epoch=7 revision=1 ",
        "primacy v=1 epoch=7",
        "primacy v=1 epoch=7 revision=99999999999999999999",
        "primacy v=1 epoch=٧ revision=1",
    ],
)
def test_a_text_that_is_not_exactly_ours_has_no_version(text: str) -> None:
    assert NameVersion.parse(text) is None


def test_versions_are_ordered_by_epoch_then_revision() -> None:
    assert NameVersion(7, 99) < NameVersion(8, 1) < NameVersion(8, 2)


def test_the_version_of_a_server_is_the_highest_on_either_name() -> None:
    older = '"primacy v=1 epoch=7 revision=4710"'
    assert says(primary_texts=(older,)).version == NameVersion(7, 4711)
    assert says(replicas_texts=("foreign", older), primary_texts=()).version == NameVersion(7, 4710)
    assert says(primary_texts=(), replicas_texts=()).version is None


def test_a_server_that_says_what_is_wanted_agrees_whatever_the_order() -> None:
    assert differences(says(), WANTED) == ()


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        pytest.param(says(primary=("10.0.0.9",)), "10.0.0.9 at primary.main", id="wrong_primary"),
        pytest.param(says(primary=()), "no address at primary.main", id="no_primary"),
        pytest.param(says(replicas=("10.0.0.2",)), "10.0.0.2 at replicas.main", id="one_replica_less"),
        pytest.param(says(primary_texts=()), "no TXT at primary.main", id="no_version"),
        pytest.param(says(replicas_texts=(TEXT, '"x"')), '"x" at replicas.main', id="a_second_text"),
        pytest.param(ServerAnswer("ns1", None, None, "silent"), "did not answer: silent", id="no_answer"),
    ],
)
def test_each_difference_is_told_with_the_server_and_the_name(answer: ServerAnswer, told: str) -> None:
    (sentence,) = differences(answer, WANTED)
    assert sentence.startswith("ns1 ")
    assert told in sentence
    assert disagreements([says(), answer], WANTED) == (sentence,)


def test_with_no_primary_any_old_address_agrees_but_its_version_must_be_the_new_one() -> None:
    without = WantedNames("main", "db.lab", 7, 4711, primary=(), replicas=("10.0.0.2", "10.0.0.3"))
    assert differences(says(primary=("10.66.66.66",)), without) == ()
    assert differences(says(primary_texts=()), without) != ()


def test_addresses_are_normalised_and_a_host_name_is_refused() -> None:
    assert normal_addresses(["FD00::0001", "10.0.0.10", "10.0.0.9", "10.0.0.9"]) == (
        "10.0.0.9",
        "10.0.0.10",
        "fd00::1",
    )
    with pytest.raises(ValueError, match="db1"):
        WantedNames("main", "db.lab", 1, 1, primary=("db1",), replicas=())
