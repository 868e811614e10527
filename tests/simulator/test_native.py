"""Values spelled out for mypyc are what they were: run as plain Python they say and compare the same."""

from __future__ import annotations

import inspect
from types import ModuleType
from typing import Any

import msgspec
import pytest

from tests.simulator.compiled import AS_IT_IS, ROOT, sources, texts
from tests.simulator.native import known, spelled_out

_SAMPLE = '''
from __future__ import annotations

from dataclasses import dataclass

import msgspec
from msgspec.structs import replace


class Pair(msgspec.Struct, frozen=True, order=True):
    """Two numbers."""

    a: int
    b: int = 7
    """With a default — and a dash, which is more than one byte."""

    def __post_init__(self) -> None:
        if self.a < 0:
            raise ValueError("negative")


class Kind(msgspec.Struct, frozen=True):
    """A base."""


class Named(Kind, frozen=True):
    name: str
    pair: Pair | None = None


@dataclass(frozen=True, slots=True)
class Told:
    text: str


@dataclass(eq=False)
class Waiting:
    text: str


class Broken(AssertionError):
    """Raised."""


def moved(pair: Pair) -> Pair:
    return replace(replace(pair, a=pair.a + 1), b=0)


def changed(named: Named, **changes: object) -> Named:
    return replace(named, **changes)


def both(named: Named, **changes: object) -> Named:
    return replace(named, name="both", **changes)


def told(what: object) -> str:
    match what:
        case Named(name, pair) if pair is not None:
            return f"{name} with {pair.b}"
        case Pair(a):
            return str(a)
    return "value" if isinstance(what, Told | Named) else "else"
'''


def _module(text: str) -> Any:
    module = ModuleType(__name__)  # a dataclass looks its module up
    exec(compile(text, "sample", "exec"), module.__dict__)
    return module


@pytest.fixture(scope="module")
def worlds() -> tuple[Any, Any]:
    every = known({"sample.py": _SAMPLE}, ())
    return _module(_SAMPLE), _module(spelled_out("sample.py", _SAMPLE, every))


def _said(m: Any) -> list[object]:
    pair, named = m.Pair(1), m.Named("x", m.Pair(3, b=4))
    values = [
        pair,
        m.Pair(1, 7),
        m.Pair(2, 0),
        named,
        m.Named("x", m.Pair(3, 4)),
        m.Named(name="x"),
        m.Told("t"),
    ]
    return [
        [repr(value) for value in values],
        [[one == other for other in values] for one in values],
        [one == other or hash(one) != hash(other) for one in values for other in values],
        [repr(value) for value in sorted([m.Pair(2, 1), m.Pair(1, 9), m.Pair(1, 2)])],
        [m.Pair(1, 2) <= m.Pair(1, 2), m.Pair(1, 2) >= m.Pair(1, 3), m.Pair(2, 0) > m.Pair(1, 9)],
        [repr(m.moved(pair)), repr(m.changed(named, pair=None)), repr(m.both(named, pair=pair))],
        [m.told(value) for value in values],
        [isinstance(named, m.Kind), m.Waiting("w") == m.Waiting("w"), issubclass(m.Broken, AssertionError)],
    ]


def test_values_spelled_out_say_and_compare_what_they_did(worlds: tuple[Any, Any]) -> None:
    before, after = worlds
    assert issubclass(before.Pair, msgspec.Struct)
    assert not issubclass(after.Pair, msgspec.Struct)
    assert _said(after) == _said(before)


def test_values_spelled_out_still_refuse_what_they_must_not_hold(worlds: tuple[Any, Any]) -> None:
    for module in worlds:
        with pytest.raises(ValueError, match="negative"):
            module.Pair(-1)


def test_every_value_of_a_run_takes_what_it_took() -> None:
    given = texts(sources())
    every = known({path: (ROOT / path).read_text() for path in given}, AS_IT_IS)
    assert len(every.classes) > 100
    for path in sorted({path for path, _ in every.classes}):
        name = path.removesuffix(".py").replace("/", ".")
        original = __import__(name, fromlist=["_"])
        spelled = ModuleType(name)
        exec(compile(given[path], path, "exec"), spelled.__dict__)
        for called in sorted(c for where, c in every.classes if where == path):
            assert _takes(getattr(spelled, called)) == _takes(getattr(original, called)), f"{path}: {called}"


def _takes(kind: type) -> list[tuple[str, object]]:
    """Its fields in order; of each default what it says."""
    taken = inspect.signature(kind).parameters.values()
    factories = {}
    if issubclass(kind, msgspec.Struct):
        factories = {f.name: f.default_factory for f in msgspec.structs.fields(kind)}
    found: list[tuple[str, object]] = []
    for one in taken:
        default = one.default
        factory = factories.get(one.name, msgspec.NODEFAULT)
        if callable(factory):
            default = factory()
        found.append((one.name, repr(default)))
    return found
