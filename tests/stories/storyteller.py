"""Plays the commands of a story on a simulated fleet, and tells what happened.

What is told is the course of the record, and what people are shown; never times or positions, which
come from the dice. Safety is not told: the fleet's checkers raise, so no rewrite can bless a lost commit.

    fleet members=3 k=1 seed=1 profile=default priority=b:200 nofailover=c sites=a:east,b:west strict controls=1
    crash a | lose a | restart a | stop-agent a | forget a | stall b 2s | cut a control | mend
    kill leader | freeze leader 4s | deafen leader | etcd down 3s
    switchover [b] | replace leader | late a epoch=1 | keep record | restore record
    kill-agent a | kill-guard a | kill-both a | freeze a [agent|guard|postgres|clock] | thaw a | drift a -100
    fill a 2s | hold b paused|conflict|slow 3s | empty c
    when SEALING|PROMOTING|CHANGE <command>      (`primary` and `candidate` stand for who it is at that moment)
    run 2s | until whole|serving|SEALING|PROMOTING|STABLE|CHANGE|solo|done|QuorumAtRisk|… [within 2s]
    heal | show why|rule|prior|members|candidates

More of what is done is in `doing.py`, more of what is shown in `shown.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from agents.core.obey import RefusedOrder, consider
from common.profile import PROFILES
from common.timebase import SECOND_US
from orchestrator.core.diagnose import Diagnosis
from orchestrator.core.events import SpecLoaded
from orchestrator.core.record import Phase, Prior, Record
from orchestrator.core.spec import STRICT
from tests.simulator.fleet import Fleet
from tests.simulator.model_etcd import Copy
from tests.stories.doing import DONE
from tests.stories.shown import SHOWN
from tests.stories.untellable import Untellable

_PATIENCE_US = 60 * SECOND_US
_ON_A_HOST = ("fill", "hold", "empty", "kill-agent", "kill-guard", "kill-both", "freeze", "thaw", "drift")
_AT_ONCE = ("show", "switchover", "failover")
"""Looking and asking: a phase may be over soon."""
_VARYING = (
    (re.compile(r"\b[0-9A-F]+/[0-9A-F]+\b"), "LSN"),
    (re.compile(r"\b\d+ (ms|bytes)\b"), r"N \1"),
    (re.compile(r"\bfor \d+ of N\b"), "for N of N"),
    (re.compile(r"\b[0-9a-f]{16}\b"), "ID"),
)
_VOTER = re.compile(r"\b([a-g])\.(\d+)\b")


class Storyteller:
    def __init__(self) -> None:
        self.told: list[str] = []
        self._fleet: Fleet | None = None
        self._stories_read: dict[int, int] = {}
        self._numbers: dict[str, int] = {}
        """The incarnation of each member when the story begins."""
        self._kept: Copy | None = None
        self._saved_since: list[Record] = []
        """Since the last `until` began: a phase may pass between two looks."""
        self.decided: set[str] = set()
        """The reasons of all decisions since the story began, by whichever leader."""

    @property
    def fleet(self) -> Fleet:
        if self._fleet is None:
            raise Untellable("a story begins with `fleet`")
        return self._fleet

    def play(self, line: str) -> None:
        word, *rest = line.split()
        if self._fleet is not None:
            self._read_decisions()  # of a leader that this line may replace
        commands: dict[str, Callable[..., None]] = {
            "fleet": self._born,
            "when": self._when,
            "run": self._run,
            "until": self._until,
            "show": self._show,
            "late": self._late,
            "keep": self._keep,
            "restore": self._restore,
        }
        if word in commands:
            commands[word](*rest)
        else:
            self._fault(word, *rest)
        self._read_stories()

    # The course of things

    def _born(self, *options: str) -> None:
        """A whole cluster, its clients at work; its birth is not told."""
        known = dict(option.partition("=")[::2] for option in options)
        fleet = Fleet(
            int(known.get("seed", "1")),
            members=int(known.get("members", "3")),
            k=int(known.get("k", "1")),
            profile=PROFILES[known.get("profile", "default")],
            controls=int(known.get("controls", "1")),
        )
        if "strict" in known:
            fleet.spec = replace(fleet.spec, when_last_voter_lost=STRICT)
        never = set(known.get("nofailover", "").split(","))
        sites = dict(where.split(":") for where in known.get("sites", "").split(",") if where)
        fleet.spec = replace(
            fleet.spec,
            members=tuple(
                replace(m, nofailover=m.name in never, site=sites.get(m.name, "")) for m in fleet.spec.members
            ),
        )
        fleet.replace_leader()  # it loads the specification as it is now
        self._fleet = fleet
        if not fleet.world.run_until(40 * SECOND_US, fleet.whole):
            raise Untellable("the cluster was not born")
        if "priority" in known:
            name, _, priority = known["priority"].partition(":")
            members = tuple(
                replace(m, priority=int(priority)) if m.name == name else m for m in fleet.spec.members
            )
            fleet.spec = replace(fleet.spec, members=members)
            fleet.control.feed(SpecLoaded(fleet.world.now, fleet.spec))
            self._run("500ms")

        def write() -> None:
            fleet.write()
            fleet.world.after(20_000, write)

        write()
        self._stories_read[id(fleet.control)] = len(fleet.control.stories)
        self.decided.clear()
        fleet.control.decided.clear()
        born = fleet.record()
        assert born is not None
        self._numbers = {str(m.name): m.number for m in born.members}
        fleet.on_saved = self._saved
        fleet.host_checkers.on_fenced = lambda name: self._tell(f"{name} is fenced")

    def _saved(self, old: Record | None, new: Record) -> None:
        self._saved_since.append(new)
        if old is None or (old.epoch, old.phase) == (new.epoch, new.phase):
            return
        match new.phase:
            case Phase.SEALING:
                self._tell(f"epoch {new.epoch} SEALING of {new.primary}; prior {_priors(new.prior)}")
            case Phase.PROMOTING:
                self._tell(f"epoch {new.epoch} PROMOTING {new.candidate} under {new.rule}")
            case _:
                self._tell(f"epoch {new.epoch} {new.phase} under {new.primary}")

    def _read_decisions(self) -> None:
        self.decided |= {str(reason) for reason in self.fleet.control.decided}

    def _read_stories(self) -> None:
        self._read_decisions()
        control = self.fleet.control
        for story in control.stories[self._stories_read.get(id(control), 0) :]:
            if story.final:
                self._tell(f"{story.final}: {story.text}")
                for refused in story.refused:
                    self._tell(f"  {refused.member}: {refused.refusal}: {refused.text}")
        self._stories_read[id(control)] = len(control.stories)

    def _run(self, duration: str) -> None:
        self._run_until(_us(duration))

    def _until(self, what: str, *within: str) -> None:
        patience_us = _us(within[1]) if within else _PATIENCE_US
        self._saved_since.clear()
        if not self._run_until(patience_us, self._condition(what)):
            self._show("why")
            raise Untellable(f"{what} does not come: {self.told[-3:]}")

    def _run_until(self, duration_us: int, done: Callable[[], bool] | None = None) -> bool:
        world = self.fleet.world
        return world.run_until(world.now_us + duration_us, done)

    def _condition(self, what: str) -> Callable[[], bool]:
        fleet = self.fleet
        if what == "whole":
            return fleet.whole
        if what == "serving":
            return fleet.serving
        if what in tuple(Diagnosis):
            return lambda: fleet.control.engine.status(fleet.world.now).diagnosis == what
        if what == "done":
            return lambda: (record := fleet.record()) is not None and record.operation is None

        def happened() -> bool:
            record = fleet.record()
            return record is not None and any(_is(what, seen) for seen in (record, *self._saved_since))

        return happened

    def _when(self, what: str, *command: str) -> None:
        def then() -> None:
            self.play(" ".join(command))

        # The record's own save is to be finished first. What is done comes a moment later, in the middle of it.
        delay_us = 1 if command[0] in _AT_ONCE else 20_000
        self.fleet.once(lambda record: _is(what, record), lambda: self.fleet.world.after(delay_us, then))

    # What is done to it

    def _fault(self, word: str, *words: str) -> None:
        fleet = self.fleet
        record = fleet.record()
        assert record is not None
        stands_for = {"primary": record.primary, "candidate": record.candidate}
        rest = [str(stands_for.get(said, said)) for said in words]
        match word, *rest:
            case "crash", name:
                fleet.kill_postmaster(name)
            case "lose", name:
                fleet.lose_host(name)
            case "restart", name:
                fleet.restart_host(name)
            case "stop-agent", name:
                fleet.agents[name].host.stop_service()
            case "forget", name:
                fleet.lose_state(name)
            case "stall", name, duration:
                fleet.postgres[name].stalled_until = fleet.world.now_us + _us(duration)
            case "cut", a, b:
                fleet.cut.add(frozenset((a, b)))
            case "mend", *_:
                fleet.cut.clear()
            case "heal", *_:
                fleet.heal()
            case "switchover", *to:
                fleet.switchover(to[0] if to else None)
            case "replace", "leader":
                fleet.replace_leader()
            case "etcd", "down", duration:
                fleet.etcd.lose_majority(_us(duration))
            case _ if word in DONE:
                DONE[word](fleet, *rest)
            case _ if word in _ON_A_HOST and rest[0] in fleet.agents:
                self._on_a_host(word, *rest)
            case _:
                self._control_fault(word, *rest)

    def _control_fault(self, word: str, *rest: str) -> None:
        fleet = self.fleet
        match word, *rest:
            case "kill", "leader":
                fleet.control.die()
            case "freeze", "leader", duration:
                leader = fleet.control
                leader.freeze()
                fleet.world.after(_us(duration), leader.thaw)
            case "deafen", "leader":
                for member in fleet.agents:
                    fleet.network.block(member, fleet.control.place)
            case _:
                raise Untellable(f"no such command: {' '.join((word, *rest))}")

    def _on_a_host(self, word: str, name: str, *what: str) -> None:
        server, host, world = self.fleet.postgres[name], self.fleet.agents[name].host, self.fleet.world
        match word, *what:
            case "fill", duration:
                server.full = True
                world.after(_us(duration), lambda: setattr(server, "full", False))
            case "hold", why, duration:
                server.hold_replay(why, _us(duration))
            case "empty", *_:
                self.fleet.lose_directory(name)
                host.kill_agent()
            case "kill-agent", *_:
                host.kill_agent()
            case "kill-guard", *_:
                host.kill_guard()
            case "kill-both", *_:
                host.kill_both()
            case "freeze", *of:
                processes = {
                    "agent": (host.agent_process,),
                    "guard": (host.guard_process,),
                    "postgres": (host.postgres_process,),
                }
                host.freeze(*processes.get("".join(of), ()), clock_stands="clock" in of)
            case "thaw", *_:
                host.thaw()
            case "drift", permille:
                host.clock.drift(int(permille))

    def _late(self, member: str, which: str) -> None:
        """The last order of that epoch to that member, delivered again."""
        epoch = int(which.removeprefix("epoch="))
        agent = self.fleet.agents[member]
        order = [a for a in self.fleet.sent if a.member == member and a.version.epoch == epoch][-1]
        verdict = consider(agent.state, order)
        kind = type(order.order).__name__
        if isinstance(verdict, RefusedOrder):
            reason = re.sub(r"/\d+", "/N", verdict.reason)
            self._tell(f"late {kind} of epoch {epoch} to {member} is refused: it {reason}")
        else:
            self._tell(f"late {kind} of epoch {epoch} to {member} is obeyed")
        agent.receive(order)

    def _keep(self, _: str) -> None:
        self._kept = self.fleet.etcd.copy()

    def _restore(self, _: str) -> None:
        """etcd comes back from a backup; another leader reads it."""
        assert self._kept is not None
        self.fleet.etcd.restore(self._kept, obeyed=self.fleet.obeyed())
        self.fleet.replace_leader()
        self.fleet.world.run_until(self.fleet.world.now_us + 300_000)

    # What is seen of it

    def _show(self, what: str, *about: str) -> None:
        record = self.fleet.record()
        status = self.fleet.control.engine.status(self.fleet.world.now)
        assert record is not None
        match what:
            case "why":
                for reason in status.reasons:
                    self._tell(f"why {reason.reason} {reason.member}: {reason.text}".rstrip(": "))
            case "rule":
                self._tell(f"rule {' -> '.join(map(str, record.rules))}")
            case "prior":
                self._tell(f"prior {_priors(record.prior)}")
            case "members":
                members = (f"{m.name}.{m.incarnation} {m.state}" for m in status.members)
                self._tell(f"members {', '.join(members)}")
            case "candidates":
                for line in status.candidates:
                    self._tell(f"candidate {line.member}: {line.refusal or 'eligible'} {line.text}".rstrip())
            case "decided":
                for name in about:
                    self._tell(f"{'decided' if name in self.decided else 'never decided'} {name}")
            case _ if what in SHOWN:
                for shown in SHOWN[what](self.fleet, *about):
                    self._tell(shown)
            case _:
                raise Untellable(f"nothing is known about {what}")

    def _tell(self, line: str) -> None:
        for pattern, instead in _VARYING:
            line = pattern.sub(instead, line)
        line = _VOTER.sub(self._incarnation, line)
        self.told.append(line)

    def _incarnation(self, found: re.Match[str]) -> str:
        """`c` is the incarnation that the story began with, `c'` a later one."""
        return found[1] if int(found[2]) == self._numbers.get(found[1]) else f"{found[1]}'"


def _is(what: str, record: Record) -> bool:
    if what == "CHANGE":
        return len(record.rules) == 2
    if what == "solo":
        return len(record.rules) == 1 and not record.rule.waits
    return record.phase == Phase(what)


def _priors(priors: tuple[Prior, ...]) -> str:
    return "; ".join(
        f"{p.primary}.{p.number} of epoch {p.epoch} under {p.rule}{' (bound known)' if p.bound else ''}"
        for p in priors
    )


def _us(duration: str) -> int:
    if duration.endswith("ms"):
        return int(duration[:-2]) * 1_000
    return int(float(duration.removesuffix("s")) * SECOND_US)
