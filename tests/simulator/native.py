"""What mypyc is given in place of a module: its Structs and frozen dataclasses spelled out as plain classes.

mypyc can't take msgspec's Structs, and makes slow constructors of dataclasses. Spelled out, with an `__init__`, an
`__eq__` and a `__hash__` that anybody would write, both are its native classes: a field is read in one instruction
instead of by a look-up in a type, and `replace(x, a=1)` is a call of a method that it knows. Values, order, equality
and words stay what they were; that traces stay, too, is looked at by the sample of a soak
(tests/simulator/sample.py). Everything else of a module is left letter for letter.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

_STRUCTS = frozenset({"Struct", "msgspec.Struct"})
_RAISED = frozenset({"AssertionError", "Exception", "FailoverError"})
"""mypyc has no native children of these; as ordinary classes they may stand in a compiled module."""
_REPLACES = frozenset({"msgspec.structs.replace"})
_COMPARED = (("__lt__", "<"), ("__le__", "<="), ("__gt__", ">"), ("__ge__", ">="))

Edit = tuple[int, int, str]
"""From, to (offsets into the text), and what stands there instead."""


@dataclass(frozen=True)
class Spelled:
    """A class whose instances are values."""

    name: str
    fields: tuple[tuple[str, str, str], ...]
    """Name, type and default (empty: none), as text."""
    eq: bool
    order: bool
    frozen: bool
    is_struct: bool
    has_repr: bool
    checks_itself: bool


@dataclass
class Known:
    """What is spelled out, over all modules of a run."""

    classes: dict[tuple[str, str], Spelled] = field(default_factory=dict)
    """By module and name."""
    bases: set[str] = field(default_factory=set)
    changed: set[tuple[str, ...]] = field(default_factory=set)
    """Fields that are replaced together, somewhere."""

    def named(self, name: str) -> Spelled | None:
        """Raises ValueError where two modules have one of that name: a pattern does not say which it means."""
        found = [one for (_, called), one in self.classes.items() if called == name]
        if len(found) > 1:
            raise ValueError(f"{len(found)} classes are called {name}")
        return found[0] if found else None


def known(modules: Mapping[str, str], left: Iterable[str]) -> Known:
    """From the texts by path; classes of those in `left` stay as they are."""
    found, skipped = Known(), frozenset(left)
    for path, text in modules.items():
        tree = ast.parse(text)
        nodes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
        structs: set[str] = set()
        for node in nodes:  # children stand below their parents, in one module
            bases = {ast.unparse(base) for base in node.bases}
            found.bases.update(_last(base) for base in node.bases)
            if bases & (_STRUCTS | structs):
                structs.add(node.name)
            one = None if path in skipped else _spelled(node, is_struct=node.name in structs)
            if one is not None:
                found.classes[path, one.name] = one
        for call in _replaced(tree):
            if all(word.arg for word in call.keywords):
                found.changed.add(tuple(sorted(str(word.arg) for word in call.keywords)))
    return found


def _last(node: ast.expr) -> str:
    return ast.unparse(node).split("[")[0].split(".")[-1]


def _spelled(node: ast.ClassDef, *, is_struct: bool) -> Spelled | None:
    """None: an ordinary class, or one that stays as it is."""
    options: dict[str, bool] = {}
    if is_struct:
        options = _options(node.keywords) | {"eq": True}
    else:
        marks = [mark for mark in node.decorator_list if _last_of_call(mark) == "dataclass"]
        if not marks or node.bases:
            return None
        options = {"eq": True} | (_options(marks[0].keywords) if isinstance(marks[0], ast.Call) else {})
        if options["eq"] and not options.get("frozen"):
            return None  # can't be hashed
    fields = tuple(_field(one) for one in node.body if isinstance(one, ast.AnnAssign))
    methods = {one.name for one in node.body if isinstance(one, ast.FunctionDef)}
    if any("ClassVar" in kind or value.startswith("field(") for _, kind, value in fields):
        return None
    return Spelled(
        node.name,
        fields,
        options["eq"],
        options.get("order", False),
        options.get("frozen", False),
        is_struct,
        "__repr__" in methods,
        "__post_init__" in methods,
    )


def _options(keywords: Iterable[ast.keyword]) -> dict[str, bool]:
    return {
        str(word.arg): bool(word.value.value) for word in keywords if isinstance(word.value, ast.Constant)
    }


def _last_of_call(node: ast.expr) -> str:
    return _last(node.func if isinstance(node, ast.Call) else node)


def _field(one: ast.AnnAssign) -> tuple[str, str, str]:
    value = "" if one.value is None else ast.unparse(one.value)
    made = one.value
    if isinstance(made, ast.Call) and ast.unparse(made.func) == "msgspec.field":
        # What the factory makes is frozen too, so one for all is the same.
        value = f"({ast.unparse(made.keywords[0].value)})()"
    return ast.unparse(one.target), ast.unparse(one.annotation), value


def _replaced(tree: ast.Module) -> Iterator[ast.Call]:
    """Calls of msgspec's `replace`, under whatever name."""
    names = set(_REPLACES)
    for line in tree.body:
        if isinstance(line, ast.ImportFrom) and line.module == "msgspec.structs":
            names.update(alias.asname or alias.name for alias in line.names)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in names:
            yield node


class _Text:
    """A module's text, with offsets for the positions that `ast` has (those count bytes)."""

    def __init__(self, text: str) -> None:
        self.raw = text.encode()
        self._starts = [0]
        for line in self.raw.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))

    def begin(self, node: ast.expr | ast.stmt | ast.keyword | ast.pattern) -> int:
        return self._starts[node.lineno - 1] + node.col_offset

    def end(self, node: ast.expr | ast.stmt | ast.pattern) -> int:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self._starts[node.end_lineno - 1] + node.end_col_offset

    def with_edits(self, edits: Iterable[Edit]) -> str:
        raw = self.raw
        for begin, end, instead in sorted(edits, reverse=True):
            raw = raw[:begin] + instead.encode() + raw[end:]
        return raw.decode()


def spelled_out(path: str, text: str, every: Known) -> str:
    """The module as mypyc is given it; the same text where nothing of it is a value."""
    tree, source = ast.parse(text), _Text(text)
    edits = [*_classes(path, tree, source, every), *_calls(tree, source), *_patterns(tree, source, every)]
    if not edits:
        return text
    first = next(
        (n for n in tree.body if isinstance(n, ast.ImportFrom) and n.module == "__future__"), tree.body[0]
    )
    imports = (
        "\nfrom typing import Any, final as _final\nfrom mypy_extensions import mypyc_attr as _mypyc_attr"
    )
    return source.with_edits([*edits, (source.end(first), source.end(first), imports)])


def _classes(path: str, tree: ast.Module, source: _Text, every: Known) -> Iterator[Edit]:
    for node in tree.body:
        if not isinstance(node, ast.ClassDef):
            continue
        if any(_last(base) in _RAISED for base in node.bases):
            yield source.begin(node), source.begin(node), "@_mypyc_attr(native_class=False)\n"
            continue
        one = every.classes.get((path, node.name))
        if one is None or not (one.is_struct or node.decorator_list):
            continue
        begin = source.begin(node.decorator_list[0]) - 1 if node.decorator_list else source.begin(node)
        bases = [ast.unparse(base) for base in node.bases if ast.unparse(base) not in _STRUCTS]
        mark = "" if node.name in every.bases else "@_final\n"
        within = f"({', '.join(bases)})" if bases else ""
        yield begin, source.begin(node.body[0]), f"{mark}class {node.name}{within}:\n    "
        for line in node.body:
            if isinstance(line, ast.AnnAssign) and line.value is not None:
                yield source.end(line.annotation), source.end(line.value), ""
        yield source.end(node), source.end(node), "\n" + "\n".join(_methods(one, every))


def _methods(one: Spelled, every: Known) -> Iterator[str]:
    name, names = one.name, [field_name for field_name, _, _ in one.fields]
    takes = [f"{n}: {kind}{' = ' + value if value else ''}" for n, kind, value in one.fields]
    yield f"    def __init__({', '.join(['self', *takes])}) -> None:"
    yield from (f"        self.{n} = {n}" for n in names)
    if one.checks_itself:
        yield "        self.__post_init__()"
    if not names and not one.checks_itself:
        yield "        pass"
    if one.eq:
        same = " and ".join(f"self.{n} == other.{n}" for n in names) or "True"
        yield "    def __eq__(self, other: object) -> bool:"
        yield f"        return self is other or (isinstance(other, {name}) and {same})"
        yield "    def __hash__(self) -> int:"
        yield f"        return hash(({''.join(f'self.{n}, ' for n in names)}))"
    if not one.has_repr:
        words = ", ".join(f"{n}={{self.{n}!r}}" for n in names)
        yield "    def __repr__(self) -> str:"
        yield f"        return f'{name}({words})'"
    if one.order:
        for method, sign in _COMPARED:
            yield f"    def {method}(self, other: {name}) -> bool:"
            for n in names[:-1]:
                yield f"        if self.{n} != other.{n}: return self.{n} {sign[0]} other.{n}"
            yield f"        return self.{names[-1]} {sign} other.{names[-1]}"
    if not one.is_struct or not names:
        return
    kinds = {n: kind for n, kind, _ in one.fields}
    for together in sorted(every.changed):
        if set(together) <= set(names):
            new = ", ".join(f"{n}: {kinds[n]}" for n in together)
            whole = ", ".join(n if n in together else f"self.{n}" for n in names)
            yield f"    def {_method(together)}(self, *, {new}) -> {name}:"
            yield f"        return {name}({whole})"
    whole = ", ".join(f"changes.get({n!r}, self.{n})" for n in names)
    yield f"    def replaced_(self, changes: dict[str, Any]) -> {name}:"
    yield f"        return {name}({whole})"


def _method(together: Iterable[str]) -> str:
    return "replaced_" + "__".join(sorted(together))


def _calls(tree: ast.Module, source: _Text) -> Iterator[Edit]:
    """`replace(x, a=1)` becomes `(x).replaced_a(a=1)`; `isinstance(x, A | B)` becomes `isinstance(x, (A, B))`."""
    for call in _replaced(tree):
        thing, word = call.args[0], call.keywords[0]
        yield source.begin(call), source.begin(thing), "("
        if any(one.arg is None for one in call.keywords):
            first = source.begin(word) if word.arg else source.begin(word.value) - len("**")
            yield source.end(thing), first, ").replaced_(dict("
            yield source.end(call), source.end(call), ")"
        else:
            method = _method(str(one.arg) for one in call.keywords)
            yield source.end(thing), source.begin(word), f").{method}("
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "isinstance":
            kinds = node.args[1]
            if isinstance(kinds, ast.BinOp):
                yield source.begin(kinds), source.end(kinds), f"({', '.join(_each(kinds))})"


def _each(kinds: ast.expr) -> Iterator[str]:
    if isinstance(kinds, ast.BinOp):
        yield from _each(kinds.left)
        yield from _each(kinds.right)
    else:
        yield ast.unparse(kinds)


def _patterns(tree: ast.Module, source: _Text, every: Known) -> Iterator[Edit]:
    """`case A(x)` becomes `case A(field=x)`: a plain class does not say the order of its fields."""
    for node in ast.walk(tree):
        if isinstance(node, ast.MatchClass) and node.patterns:
            one = every.named(_last(node.cls))
            if one is not None:
                for (name, _, _), pattern in zip(one.fields, node.patterns, strict=False):
                    yield source.begin(pattern), source.begin(pattern), f"{name}="
