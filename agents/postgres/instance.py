"""The door to PostgreSQL: performs steps, measures, tells of the postmaster's death.

`perform` may be cancelled at any time (the recipe's order was superseded): every step is idempotent, and one
that runs a program (initdb, pg_rewind, pg_basebackup) ends it. One `perform` at a time; `measure`,
`probe_commit` and `wait_death` run beside it.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Self

from agents.core import steps
from agents.core.steps import Outcome, Step, StepFailed
from agents.postgres import histories, making, serving
from agents.postgres.config import InstanceConfig
from agents.postgres.end_of_wal import measure_end, reached
from agents.postgres.facts import Measurement, PartialFacts
from agents.postgres.look import look
from agents.postgres.marker import lock_directory, marker_of
from agents.postgres.own_files import read_password
from agents.postgres.postmaster import Postmaster
from agents.postgres.probe_commit import ProbeCommits, ProbeOutcome
from agents.postgres.promotion import await_replay, promote
from agents.postgres.receivers import end_receivers
from agents.postgres.roles import ensure_roles
from agents.postgres.server import Server
from agents.postgres.settings import overruled
from agents.postgres.slots import make_slots
from agents.postgres.starting import start_primary, start_standby
from agents.postgres.stopping import stop
from agents.postgres.versions import read_version, version_mistakes
from common.clock import Clock
from common.errors import BadConfig
from common.lsn import Lsn
from common.timebase import Instant

_SOCKET_PATH_MAX = 90
_SPACE_AT_DEATH_WITHIN_MS = 20
"""Clients wait for what is said next; a disk that answers does so in microseconds."""


@dataclass(frozen=True, slots=True)
class Death:
    """The postmaster is gone; processes of it may be left (PostgresState.DYING)."""

    pid: int
    seen_at: Instant
    ordered: bool
    """We had told it to stop."""
    free_mib: int | None = None
    """Beside the data directory, right then: PostgreSQL goes down where it finds no room for its WAL. None where it was
    told to stop, or where the disk did not answer at once."""


class Instance:
    """`Store`, `DrawIncarnation`, `Pause`, `Tell` and `ConfirmRule` are the app's and are not performed here.

    Use it as `async with Instance(...)`: entering locks the data directory against a second agent, checks the
    versions and adopts a running PostgreSQL; leaving closes the connections and leaves PostgreSQL alone.
    """

    def __init__(self, config: InstanceConfig, clock: Clock, incarnation: Callable[[], str]) -> None:
        """`incarnation` answers the agent's present one, to compare the marker with."""
        self._config = config
        self._clock = clock
        self._incarnation = incarnation
        self._opened: tuple[Server, Measurement, ProbeCommits, int] | None = None
        self._told: Postmaster | None = None

    async def __aenter__(self) -> Self:
        """Raise BadConfig: the version is refused, another agent holds the directory, a file is missing."""
        config = self._config
        version = read_version(config.bin_directory)
        mistakes = [*version_mistakes(version, config.data_directory, untested=config.untested_version)]
        mistakes += _mistakes(config)
        if mistakes:
            raise BadConfig(mistakes)
        lock = lock_directory(config)
        server = Server(config, self._clock, version, self._incarnation)
        self._opened = server, Measurement(server), ProbeCommits(config, self._clock), lock
        try:
            await server.write("writing the agent's own files", server.files.prepare)
            await server.find()
        except BaseException:
            await self.__aexit__()
            raise
        for name in overruled(config):
            server.notice(f"postgres.settings.{name} is ignored: the agent owns this setting")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._opened is None:
            return
        (server, measurement, probes, lock), self._opened = self._opened, None
        await probes.close()
        await server.close_sessions()
        server.let_go()
        measurement.close()
        os.close(lock)

    @property
    def notices(self) -> tuple[str, ...]:
        """What people should know (managed settings found and removed …); at most the last 20."""
        return self._server.notices

    @property
    def activity(self) -> str:
        """What takes long right now, in words: `cloning from a, 40 %`; empty otherwise."""
        return self._server.activity

    @property
    def postmaster_alive(self) -> bool:
        """By the kernel's word (pidfd), without a system call."""
        return self._server.alive

    @property
    def primary_since(self) -> Instant | None:
        """When this PostgreSQL was first seen as a primary since its start or promotion, by this agent; None
        while it is none. `opening.may_open(started_at=…)`."""
        primacy = self._server.primacy
        return None if primacy is None or not self._server.alive else primacy.since

    @property
    def end_of_recovery_lsn(self) -> Lsn | None:
        """Of this start or promotion, an upper bound; it never changes. None while it is no primary."""
        primacy = self._server.primacy
        return None if primacy is None or not self._server.alive else primacy.end_of_recovery_lsn

    async def wait_death(self) -> Death:
        """Wait until the postmaster that runs now, or the next one that runs, dies; each is told once."""
        postmaster = await self._server.dead_postmaster(self._told)
        seen_at, ordered = self._clock.now(), postmaster.told_to_stop
        assert self._opened is not None
        free_mib = None if ordered else await self._opened[1].free_mib(within_ms=_SPACE_AT_DEATH_WITHIN_MS)
        self._told = postmaster
        return Death(postmaster.pid, seen_at, ordered, free_mib)

    async def measure(self) -> PartialFacts:
        """For reports; bounded by the deadlines of disk and SQL, never raises."""
        assert self._opened is not None
        return await self._opened[1].measure()

    async def probe_commit(
        self, expected_rule: str, within_ms: int, *, opening: bool = False
    ) -> ProbeOutcome:
        """Begin a probe commit, or ask after the one that is outstanding; never raises."""
        assert self._opened is not None
        return await self._opened[2].probe(expected_rule, within_ms, opening=opening)

    @property
    def probe_is_outstanding(self) -> bool:
        """The next `probe_commit` only asks after one that began before."""
        assert self._opened is not None
        return self._opened[2].is_outstanding

    async def keep_probe_warm(self) -> None:
        """Of a standby; never raises."""
        assert self._opened is not None
        if self._server.alive:
            await self._opened[2].keep_warm()

    async def perform(self, step: Step) -> Outcome:  # noqa: C901 - one arm for each step
        """Raise StepFailed, in words for people."""
        server = self._server
        match step:
            case steps.Look():
                return await look(server)
            case steps.SeeCrash():
                return server.has_crashed
            case steps.WriteSettings():
                await self._write_settings(step)
            case steps.StartStandby():
                await start_standby(server)
            case steps.StartPrimary():
                await start_primary(server)
                await ensure_roles(server, secrets.token_bytes(16))
            case steps.Checkpoint():
                await serving.checkpoint(server, step.within_ms)
            case steps.StopPostgres():
                return await stop(server, clean=step.clean, clean_within_ms=step.clean_within_ms)
            case steps.EndReceivers():
                await end_receivers(server)
            case steps.EndClients():
                await serving.end_clients(server)
                await serving.resume_replay(server)
            case steps.MeasureEnd():
                return await measure_end(server)
            case steps.Reached():
                return await reached(server, step.position)
            case steps.ListHistories():
                wal = self._config.wal_directory
                return await server.read(
                    "reading history files", partial(histories.list_histories, wal, step.above)
                )
            case steps.RemoveHistories() | steps.PlantPlaceholders() | steps.PlaceHistories():
                await self._change_histories(step)
            case steps.AwaitReplay():
                return await await_replay(server, step.replayed_lsn, step.within_ms)
            case steps.PromotePostgres():
                return await promote(server, step.within_ms)
            case steps.MakeSlots():
                await make_slots(server, step.slots, step.epoch)
            case steps.LocalCommit():
                return await serving.local_commit(server)
            case steps.SeeRule():
                return await serving.see_rule(server, new_session=step.new_session)
            case steps.SeeCommitWait():
                return await serving.see_commit_wait(server, step.within_ms)
            case steps.ListWalsenders():
                return await serving.list_walsenders(server)
            case steps.EndWalsender():
                await serving.end_walsender(server, step.pid)
            case steps.InsertPosition():
                return await serving.insert_position(server)
            case steps.Open():
                await server.write("opening the door", partial(server.files.set_door, closed=False))
                server.reload()
            case steps.Initdb():
                return await making.initdb(server)
            case steps.Rewind():
                await making.rewind(server, step.upstream)
            case steps.Clone():
                await making.clone(server, step.upstream)
            case steps.WriteMarker():
                await making.write_marker(server, marker_of(step.state))
            case _:
                raise AssertionError(f"{type(step).__name__} is not performed by PostgreSQL's adapter")
        return None

    @property
    def _server(self) -> Server:
        assert self._opened is not None, "use the instance inside `async with`"
        return self._opened[0]

    async def _write_settings(self, step: steps.WriteSettings) -> None:
        server = self._server

        def write_and_reload() -> tuple[str, ...]:
            # Together: a write that ends after its deadline must still be taken up by PostgreSQL.
            names = tuple(server.files.write(step.rule, step.stream, closed=step.closed))
            server.reload()
            return names

        for name in await server.write("writing the settings", write_and_reload):
            server.notice(f"{name} was set in postgresql.auto.conf; the agent owns it and removed it there")

    async def _change_histories(
        self, step: steps.RemoveHistories | steps.PlantPlaceholders | steps.PlaceHistories
    ) -> None:
        server, wal, owner = self._server, self._config.wal_directory, self._config.run_as
        if isinstance(step, steps.RemoveHistories):
            if await server.find() is not None:
                raise StepFailed("history files are removed only while PostgreSQL stands still")
            call = partial(histories.remove, wal, step.timelines)
        elif isinstance(step, steps.PlantPlaceholders):
            call = partial(histories.plant, wal, step.parent, step.timelines, owner)
        else:
            call = partial(histories.place, wal, step.timeline, step.history, owner)
        await server.write("changing history files", call)
        server.forget_histories()
        if isinstance(step, steps.PlaceHistories):
            # Woken, the startup process takes the new timeline as its target before it has an upstream. Else it
            # streams the rest of the segment twice: on the old timeline, to its end, and again on the new one.
            await server.ask_kernel(server.wake_startup)


def _mistakes(config: InstanceConfig) -> list[str]:
    socket = config.socket_directory / f".s.PGSQL.{config.port}"
    found = []
    if len(str(socket)) > _SOCKET_PATH_MAX:
        found.append(
            f"postgres.socket_directory: {socket} is longer than {_SOCKET_PATH_MAX} bytes, shorten it"
        )
    if not config.state_directory.is_dir():
        found.append(f"state_directory {config.state_directory}: is not a directory")
    for key in ("replication_password_file", "probe_password_file", "canary_password_file"):
        if getattr(config, key) is None:
            continue
        try:
            read_password(key, config)
        except BadConfig as mistake:
            found += mistake.mistakes
    return found
