"""A member that plays its part in a failover without a PostgreSQL: orders in, facts out.

Beats and stream are the agent's own (`agents.link`), and so is whether an order may be obeyed (`agents.core.obey`);
a PostgreSQL that needs no time stands in for the rest, so that what is measured is the control node.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from msgspec.structs import replace

from agents.config import AgentConfig
from agents.core.obey import Obeyed, consider
from agents.core.state import AgentState, first_state
from agents.link.beat import Beats
from agents.link.reports import Listener, Urgency
from agents.link.session import Session
from common.assignment import Assignment, Follow, HistoryStep, Promote, Seal, Serve, Version
from common.clock import Clock
from common.datagram import BeatFrame, Flags, Header
from common.facts import Facts, Peer, PostgresState, Promotion, RuleConfirmation, SealReport, WriteState
from common.ids import application_name
from common.lsn import Lsn
from common.profile import PROFILES, Profile
from common.rule import quorum
from common.timebase import Instant
from deploy.scale.crowd import BEGIN, MEMBERS, PROFILE, SYSTEM_IDENTIFIER, Group, Member

_RECORD_BYTES = 0x100


@dataclass(slots=True)
class Ordered:
    """An order and when it came."""

    at: Instant
    kind: str
    epoch: int


@dataclass(slots=True)
class Company:
    """The players of one cluster, who see each other's streaming."""

    group: Group
    players: dict[str, Player] = field(default_factory=dict)
    end: Lsn = BEGIN

    def peers_of(self, primary: Player) -> tuple[Peer, ...]:
        return tuple(
            Peer(player.upstream, "streaming", self.end)
            for player in self.players.values()
            if player is not primary and player.upstream and player.timeline == primary.timeline
        )

    def attached(self) -> None:
        """A standby came: its primary tells, since commits are acknowledged now."""
        for player in self.players.values():
            if player.is_primary:
                player.changed()

    @property
    def primary(self) -> Player | None:
        return next((player for player in self.players.values() if player.is_primary), None)


class Player:
    def __init__(
        self, member: Member, company: Company, config: AgentConfig, clock: Clock, revision: int
    ) -> None:
        self.member, self._company, self._clock = member, company, clock
        self.postgres = member.postgres
        self.timeline = 1
        self.history: tuple[HistoryStep, ...] = ()
        self.ordered: list[Ordered] = []
        self.upstream = "" if member.is_first_primary else application_name(member.name, 1, 1)
        first = [other.name for other in company.group.members if not other.is_first_primary]
        rule = quorum((m.voter for m in company.group.record(0).members if m.name in first), 1)
        self._rule = rule.synchronous_standby_names(1) if member.is_first_primary else ""
        self._confirmation: RuleConfirmation | None = None
        self._first_write_at: Instant | None = None
        self._state: AgentState = replace(
            first_state(member.cluster, member.name, member.incarnation),
            system_identifier=SYSTEM_IDENTIFIER,
            obeyed=Version(1, revision),
            highest_number=1,
            promotion_signalled=False,
        )
        self._listeners: list[Listener] = []
        self._profile: Profile = PROFILES[PROFILE]
        self._beats = Beats(config, self, clock, lambda: self._profile)
        self._session = Session(config, self, self._beats, clock, lambda: self._profile)
        self._session.on_assignment = self._obey
        self._session.on_profile = self._told_profile
        self._beats.on_leader = self._session.leader_known
        self._tasks: list[asyncio.Task[None]] = []

    # ---- its life ----

    def start(self, group: asyncio.TaskGroup) -> None:
        self._tasks = [group.create_task(self._beats.run()), group.create_task(self._session.run())]

    def fall_silent(self) -> None:
        """Its host is lost: nothing comes from it any more. The stream ends too, which decides nothing."""
        self.postgres, self.upstream = PostgresState.UNKNOWN, ""
        for task in self._tasks:
            task.cancel()

    def lose_postmaster(self) -> None:
        self.postgres = PostgresState.DYING
        self.changed()

    @property
    def is_connected(self) -> bool:
        return self._session.is_open

    @property
    def grants_count(self) -> int:
        return self._beats.counts["acknowledged"]

    # ---- what its links ask (agents.link.reports.Reports) ----

    @property
    def is_primary(self) -> bool:
        return self.postgres is PostgresState.PRIMARY

    def listen(self, listener: Listener) -> None:
        self._listeners.append(listener)

    def facts(self) -> Facts:
        state, end = self._state, self._company.end
        peers = self._company.peers_of(self) if self.is_primary else ()
        return Facts(
            cluster=state.cluster,
            member=state.member,
            incarnation=state.incarnation,
            obeyed=state.obeyed,
            system_identifier=state.system_identifier,
            postgres=self.postgres,
            postmaster_alive=self._lives,
            open=self._lives,
            timeline=self.timeline,
            history=self.history,
            flushed_lsn=end,
            replayed_lsn=end,
            insert_lsn=end,
            end_of_wal=None if state.seal is None else state.seal.position,
            rule_in_force=self._rule if self.is_primary else None,
            rule_confirmation=self._confirmation,
            promotion=state.promotion,
            seal=state.seal,
            peers=peers,
            receiver_alive=bool(self.upstream),
            received_age_ms=self._received_age_ms(),
            upstream=self.upstream,
            write_state=self._write_state(),
            write_age_ms=self._write_age_ms(),
            first_write_age_ms=self._first_write_age_ms(),
            free_mib=100_000,
            postgres_version=150000,
            highest_version=state.obeyed,
            highest_number=state.highest_number,
        )

    def beat(self, header: Header) -> BeatFrame:
        state, end = self._state, self._company.end
        return BeatFrame(
            header=header,
            obeyed=state.obeyed,
            incarnation=state.incarnation,
            system_identifier=state.system_identifier,
            flags=Flags(
                postgres=self.postgres,
                write_state=self._write_state(),
                postmaster_alive=self._lives,
                receiver_alive=bool(self.upstream),
                sealed=state.seal is not None and state.seal.epoch == state.obeyed.epoch,
                open=self._lives,
            ),
            timeline=self.timeline,
            flushed_lsn=end,
            replayed_lsn=end,
            insert_lsn=end,
            voter_reply_age_ms=10 if self.is_primary else None,
            write_age_ms=self._write_age_ms(),
            received_age_ms=self._received_age_ms(),
            free_mib=100_000,
        )

    def changed(self) -> None:
        """Something happened: said at once on both ways, as an agent does."""
        for listener in self._listeners:
            listener(Urgency.BEATEN)
        self._beats.send_now()

    @property
    def _lives(self) -> bool:
        return self.postgres in (PostgresState.PRIMARY, PostgresState.STANDBY)

    def _write_state(self) -> WriteState:
        if not self.is_primary:
            return WriteState.NONE
        if not self._company.peers_of(self):
            return WriteState.WAITING
        if self._first_write_at is None:
            self._first_write_at = self._clock.now()
        return WriteState.ACKNOWLEDGED

    def _write_age_ms(self) -> int | None:
        return 100 if self._write_state() is WriteState.ACKNOWLEDGED else None

    def _first_write_age_ms(self) -> int | None:
        at = self._first_write_at
        return None if at is None or not self.is_primary else (self._clock.now() - at) // 1000

    def _received_age_ms(self) -> int | None:
        """A primary that is gone sends nothing: its standbys are no witnesses for it."""
        if not self.upstream:
            return None
        primary = self._company.primary
        return 20 if primary is not None else 60_000

    # ---- orders ----

    def _told_profile(self, profile: Profile) -> None:
        self._profile = profile

    def _obey(self, assignment: Assignment) -> None:
        verdict = consider(self._state, assignment)
        if not isinstance(verdict, Obeyed):
            return
        self._state = verdict.state
        epoch, order = assignment.version.epoch, assignment.order
        self.ordered.append(Ordered(self._clock.now(), type(order).__name__.lower(), epoch))
        match order:
            case Seal():
                self._seal(epoch)
            case Promote():
                self._promote(epoch, order)
            case Serve():
                self._serve(assignment, order)
            case Follow():
                self._follow(assignment, order)
            case _:
                pass
        self.changed()

    def _seal(self, epoch: int) -> None:
        was_primary = self.postgres in (PostgresState.PRIMARY, PostgresState.DYING)
        if was_primary:
            self.postgres = PostgresState.STOPPED
        self.upstream = ""
        end = self._company.end
        seal = SealReport(epoch, self.member.incarnation, self.timeline, end, end, was_primary=was_primary)
        self._state = replace(self._state, seal=seal)

    def _promote(self, epoch: int, order: Promote) -> None:
        switch = order.position.end_lsn
        self.history = (*self.history, HistoryStep(order.position.timeline, switch))
        self.postgres, self.timeline, self.upstream = PostgresState.PRIMARY, order.timeline, ""
        self._company.end = first = Lsn(switch + _RECORD_BYTES)
        self._first_write_at = None
        self._rule = order.rule.synchronous_standby_names(epoch)
        self._state = replace(
            self._state,
            promotion=Promotion(epoch, order.timeline, switch, first),
            promotion_told=epoch,
            serving_rule=order.rule,
            serving_epoch=epoch,
        )

    def _serve(self, assignment: Assignment, order: Serve) -> None:
        self.postgres = PostgresState.PRIMARY
        rule = order.target or order.rule
        self._rule = rule.synchronous_standby_names(assignment.version.epoch)
        if order.target is not None:
            self._confirmation = RuleConfirmation(assignment.version, self._company.end)

    def _follow(self, assignment: Assignment, order: Follow) -> None:
        self.postgres, self.timeline, self.history = PostgresState.STANDBY, order.timeline, order.history
        self.upstream = application_name(self.member.name, assignment.number, assignment.version.epoch)
        self._company.attached()


def company_of(
    group: Group, config_of: Callable[[Member], AgentConfig], clock: Clock, revision: int
) -> Company:
    company = Company(group)
    for member in group.members:
        company.players[member.name] = Player(member, company, config_of(member), clock, revision)
    assert set(company.players) == set(MEMBERS)
    return company
