"""What an applied specification changes, in words that its author would use. Pure."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from orchestrator.core.spec import ClusterSpec


def changes_in_words(old: ClusterSpec | None, new: ClusterSpec) -> tuple[str, ...]:
    """Empty when nothing differs."""
    if old is None:
        names = ", ".join(member.name for member in new.members)
        return (f"new cluster {new.name} with {names}",)
    changes = _differences("", old, new, skip=("members",))
    for member in new.members:
        before = old.member(member.name)
        if before is None:
            changes.append(f"member {member.name}: added, {member.address}:{member.port}")
        else:
            changes += _differences(f"member {member.name}: ", before, member)
    changes += [f"member {member.name}: removed" for member in old.members if new.member(member.name) is None]
    if not changes and old.members != new.members:
        changes.append("the order of the members")
    return tuple(changes)


def _differences(prefix: str, old: Any, new: Any, skip: tuple[str, ...] = ()) -> list[str]:
    return [
        f"{prefix}{field.name}: {_shown(getattr(old, field.name))} -> {_shown(getattr(new, field.name))}"
        for field in fields(new)
        if field.name not in skip and getattr(old, field.name) != getattr(new, field.name)
    ]


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
