"""More of what a story can do to its fleet: one function for each command, by its first word.

Rule of admission: physics, people and the operator's file; nothing that reaches into the code under test.

    isolate a | destroy a | unstartable a [mended] | rewind-fails a | history c 2
    stop-control | etcd away|back | second leader | failover [force] | block control a
    address a 10.0.0.99 | set b nofailover|follows|priority=200 | remove c | add c
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

from common.assignment import HistoryStep
from common.ids import MemberName
from common.lsn import Lsn
from common.timebase import SECOND_US
from orchestrator.core import events as ev
from orchestrator.core.spec import ClusterSpec, MemberSpec
from tests.simulator.fleet import Fleet
from tests.simulator.model_parts import HistoryFile
from tests.stories.untellable import Untellable

_FOR_LONG_US = 3_600 * SECOND_US


def isolate(fleet: Fleet, name: str) -> None:
    """Nobody reaches it, and it reaches nobody."""
    for other in (*fleet.agents, "control"):
        if other != name:
            fleet.cut.add(frozenset((name, other)))


def block(fleet: Fleet, a: str, b: str) -> None:
    """Nothing gets from the one to the other; the way back is free."""
    nodes = tuple(node.place for node in fleet.nodes)
    for one in nodes if a == "control" else (a,):
        for other in nodes if b == "control" else (b,):
            fleet.network.block(one, other)


def destroy(fleet: Fleet, name: str) -> None:
    """Its data directory is removed; PostgreSQL dies of it, the agent goes on."""
    fleet.lose_directory(name)
    fleet.agents[name].postmaster_died()


def unstartable(fleet: Fleet, name: str, mended: str = "") -> None:
    """Its settings are wrong: what runs goes on, what is started fails."""
    fleet.agents[name].unstartable = "" if mended else "its configuration file has an error"


def rewind_fails(fleet: Fleet, name: str) -> None:
    fleet.agents[name].rewind_fails = True


def history(fleet: Fleet, name: str, timeline: str) -> None:
    """A real history file of somebody else's timeline, which forks off far below this member's end."""
    fleet.postgres[name].histories[int(timeline)] = HistoryFile(False, (HistoryStep(1, Lsn(256)),))


def stop_control(fleet: Fleet) -> None:
    fleet.control.die()


def etcd(fleet: Fleet, how: str) -> None:
    """Without etcd nobody leads; the control node goes on listening, and leads again when it can."""
    match how:
        case "away":
            fleet.etcd.lose_majority(_FOR_LONG_US)
        case "back":
            fleet.etcd.have_majority()
        case _:
            raise Untellable(f"etcd is away or back, not {how}")


def second(fleet: Fleet, _: str) -> None:
    """Another one leads; the old one goes on until it finds out that it does not."""
    fleet.replace_leader(kill=False)


def failover(fleet: Fleet, how: str = "") -> None:
    operation = f"op{fleet.world.unique()}"
    fleet.control.feed(ev.FailoverAsked(fleet.world.now, operation, "operator:sim", how == "force"))


# The operator's file


def address(fleet: Fleet, name: str, where: str) -> None:
    _apply_to(fleet, name, lambda member: replace(member, addresses=(where,)))


def setting(fleet: Fleet, name: str, what: str) -> None:
    match what.partition("="):
        case "nofailover", _, _:
            _apply_to(fleet, name, lambda member: replace(member, nofailover=True))
        case "follows", _, _:
            _apply_to(fleet, name, lambda member: replace(member, nofailover=False))
        case "priority", _, number:
            _apply_to(fleet, name, lambda member: replace(member, priority=int(number)))
        case _:
            raise Untellable(f"a member has no {what}")


def remove(fleet: Fleet, name: str) -> None:
    """From the file only: its agent knows nothing of it, and goes on reporting."""
    _apply(fleet, replace(fleet.spec, members=tuple(m for m in fleet.spec.members if m.name != name)))


def add(fleet: Fleet, name: str) -> None:
    fresh = MemberSpec(MemberName(name), f"host-{name}", (f"10.0.0.{ord(name) - 96}",))
    _apply(fleet, replace(fleet.spec, members=(*fleet.spec.members, fresh)))


def _apply_to(fleet: Fleet, name: str, change: Callable[[MemberSpec], MemberSpec]) -> None:
    members = tuple(change(m) if m.name == name else m for m in fleet.spec.members)
    _apply(fleet, replace(fleet.spec, members=members))


def _apply(fleet: Fleet, spec: ClusterSpec) -> None:
    fleet.spec = spec
    for node in fleet.nodes:
        if node.alive:
            node.feed(ev.SpecLoaded(node.now, spec))


DONE: Mapping[str, Callable[..., None]] = MappingProxyType(
    {
        "isolate": isolate,
        "block": block,
        "destroy": destroy,
        "unstartable": unstartable,
        "rewind-fails": rewind_fails,
        "history": history,
        "stop-control": stop_control,
        "etcd": etcd,
        "second": second,
        "failover": failover,
        "address": address,
        "set": setting,
        "remove": remove,
        "add": add,
    }
)
