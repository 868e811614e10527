"""The composition root of a control node: every part is made here, once, and runs in one TaskGroup.

What no part foresaw ends the process, and systemd starts it anew: standing still beats acting wrongly.
"""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import structlog

from common.clock import BootClock
from common.errors import FailoverError
from common.ids import ClusterName, MemberName
from common.resilience import Caller
from orchestrator.config import AnswererConfig, Config, Rfc2136Config
from orchestrator.core.events import BeatHeard, BeatRelayed
from orchestrator.core.status import ClusterStatus
from orchestrator.egress.assignments import AssignmentStreams
from orchestrator.egress.canary_process import CanaryProcess
from orchestrator.egress.canary_writer import name_servers_to_ask
from orchestrator.egress.dns_answerer import Answerer, AnswererNames
from orchestrator.egress.dns_authority import AnsweredZone, NameTable
from orchestrator.egress.dns_key import ServerAddress, TsigKey, parse_key
from orchestrator.egress.dns_update import NameServerSettings, Rfc2136Names
from orchestrator.etcd.client import Client, Login
from orchestrator.etcd.control_nodes import EtcdControlNodes
from orchestrator.etcd.election import EtcdElection
from orchestrator.etcd.endpoint import Tls
from orchestrator.etcd.history import EtcdHistoryStore
from orchestrator.etcd.keyspace import Keyspace
from orchestrator.etcd.record_store import EtcdRecordStore
from orchestrator.etcd.spec_store import EtcdSpecStore
from orchestrator.ingress.agent_session import AgentSessions
from orchestrator.ingress.forwarding import Forwarding
from orchestrator.ingress.grpc_server import GrpcServer
from orchestrator.ingress.heard import Heard
from orchestrator.ingress.heartbeat_udp import Acknowledge, Acknowledgement, HeartbeatUdp
from orchestrator.ingress.observers import Observers, ObserverService
from orchestrator.ingress.operator_api import OperatorService
from orchestrator.ingress.probe_sql import SqlProber
from orchestrator.ingress.tls import channel_credentials
from orchestrator.ports import NameService, Shard, Term
from orchestrator.shell.canaries import Canaries
from orchestrator.shell.dispatch import Dispatch
from orchestrator.shell.failpoints import Failpoints
from orchestrator.shell.follow_names import follow_names
from orchestrator.shell.highest_seen import HighestSeen
from orchestrator.shell.inbox import Inbox
from orchestrator.shell.leadership import Leadership
from orchestrator.shell.leases import Leases
from orchestrator.shell.loop import Loop
from orchestrator.shell.operations import Operations
from orchestrator.shell.publishing import Publishing
from orchestrator.shell.spec_feed import feed_specs
from orchestrator.shell.stories import Stories
from orchestrator.shell.ticker import Ticker
from orchestrator.shell.welcomes import Welcomes
from orchestrator.telemetry.audit import Audit
from orchestrator.telemetry.http import HttpServer, listen
from orchestrator.telemetry.metrics import Metrics

log = structlog.get_logger()

SHARD = Shard("main")
"""One election for all clusters, until they outgrow one leader."""
HEALTH_EVERY_S = 2.0
RESIGN_WITHIN_S = 2.0
LOOKED_AT_ONCE = 100
"""Clusters; then beats and turns come first."""


class App:
    def __init__(self, config: Config, failpoints: Failpoints | None = None) -> None:
        """Connects to nothing yet. Raise BadConfig."""
        self.config = config
        clock = self._clock = BootClock()
        metrics = self._metrics = Metrics()
        self._heard = Heard(clock, config.beat_secret)
        inbox = self._inbox = Inbox(clock, counted=metrics.inbox_drops.inc, quiet=self._heard)
        self._highest_seen = HighestSeen(config.data_directory)
        self._wire_etcd(config)
        self._leadership = Leadership(self._election)
        self._leases = Leases(clock, lambda: self._leadership.proof)
        self._streams = AssignmentStreams()
        credentials = channel_credentials(config.tls)
        self._observers = Observers(config.name, self._nodes, clock, credentials)
        self._prober = SqlProber(
            clock, user=config.probe.user, password=config.probe.password, database=config.probe.database
        )
        self._operations = Operations(clock)
        self._stories = Stories(
            clock=clock,
            operations=self._operations,
            history=self._history,
            term=lambda: self._leadership.term,
            metrics=metrics,
        )
        self._table = NameTable()
        self._ticker = Ticker(inbox, clock)
        self._dispatch = Dispatch(
            clock=clock,
            inbox=inbox,
            metrics=metrics,
            assignments=self._streams,
            observers=self._observers,
            prober=self._prober,
            publisher=Publishing(
                self._name_services(),
                clock,
                Caller(clock, counted=lambda policy, how: metrics.calls.labels(policy, how).inc()),
            ),
            stories=self._stories,
            stand_down=self._leadership.stand_down,
            failpoints=failpoints,
        )
        self.loop = Loop(
            clock=clock,
            inbox=inbox,
            records=self._records,
            dispatch=self._dispatch,
            leases=self._leases,
            highest_seen=self._highest_seen,
            metrics=metrics,
            audit=Audit(metrics),
            other_nodes=self._observers.names,
            is_busy=self._ticker.is_busy,
            failpoints=failpoints,
        )
        self._canaries = self._make_canaries()
        self._beats = HeartbeatUdp(clock, self._heard, self._put_beat, self._acknowledging, metrics.beats.inc)
        self._forwarding = Forwarding(config.name, config.address, self, credentials)
        self._grpc_tls = config.tls
        self._http = HttpServer(
            metrics,
            node=config.name,
            statuses=self._statuses,
            leader=lambda: self._leadership.leader_name,
            is_ready=lambda: self._etcd_answers,
        )
        self._etcd_answers = False
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        self._stopping.set()

    async def run(self) -> None:
        """Until `stop` (or SIGTERM). Raise BadConfig where a port can't be had."""
        config = self.config
        server = self._grpc_server()
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._client.close)
            stack.push_async_callback(self._forwarding.close)
            answerer = self._answerer()
            if answerer is not None:
                await stack.enter_async_context(answerer.serving())
            listening = listen(config.listen, config.http_port)
            stack.callback(listening.close)
            beat_port = self._beats.open(config.listen, config.beat_port)
            stack.callback(self._beats.close)
            host = f"[{config.listen}]" if ":" in config.listen else config.listen
            grpc_port = await server.start(f"{host}:{config.grpc_port}")
            stack.push_async_callback(server.stop)
            self._ticker.start()
            stack.callback(self._ticker.stop)
            log.info(
                "control_node.started", beat_port=beat_port, grpc_port=grpc_port, http_port=config.http_port
            )
            works: list[Coroutine[Any, Any, None]] = [
                self._dispatch.run(),
                self.loop.run(),
                self._leadership.watch(self._lead),
                self._leadership.run(),
                self._nodes.run(),
                self._observers.run(),
                self._prober.run(),
                self._stories.run(),
                self._highest_seen.run(),
                self._watch_health(server),
                self._http.run(listening),
                feed_specs(self._specs, self._clock, self._inbox, self._heard.set_members),
            ]
            if self._canaries is not None:
                works.append(self._canaries.run())
            if answerer is not None:
                works.append(
                    follow_names(
                        self.loop.cases,
                        self._records,
                        lambda: self.loop.leads,
                        self._table.publish,
                        self._clock,
                    )
                )
            await self._until_stopped(works)
        log.info("control_node.stopped")

    async def _until_stopped(self, works: list[Coroutine[Any, Any, None]]) -> None:
        running = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            running.add_signal_handler(number, self.stop)
        gc.collect()
        gc.freeze()  # what was made at start stays: no later collection walks through it
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in works]
            await self._stopping.wait()
            log.info("control_node.stopping")
            await self._stories.settle()
            try:
                async with asyncio.timeout(RESIGN_WITHIN_S):
                    await self._leadership.end()
            except TimeoutError:
                log.warning("leadership.not_given_back")
            for task in tasks:
                task.cancel()

    # ---- leadership ----

    @property
    def leads(self) -> bool:
        return self.loop.leads

    @property
    def leader_address(self) -> str:
        return self._leadership.leader_address

    async def why_nobody_leads(self) -> str:
        return await self._leadership.why_nobody_leads()

    def _lead(self, term: Term | None) -> None:
        self.loop.lead(term)
        if term is None:
            self._stories.forget()
            self._prober.forget_all()

    def _acknowledging(self) -> Acknowledge:
        """What may be answered to beats that have arrived by now."""
        plain = Acknowledgement(self._leadership.leader_name, self._leadership.leader_term)
        if not self.loop.leads or not self._leases.is_proved:
            return lambda _cluster, _member, _epoch: plain

        def acknowledge(cluster: ClusterName, member: MemberName, epoch: int) -> Acknowledgement:
            grant = self._leases.standing(cluster, member, epoch)
            if grant is None:
                return plain
            return Acknowledgement(plain.leader, plain.term, grant.epoch, grant.lease_ms)

        return acknowledge

    def _acknowledge(self, cluster: ClusterName, member: MemberName, epoch: int) -> Acknowledgement:
        return self._acknowledging()(cluster, member, epoch)

    def _put_beat(self, cluster: ClusterName, event: BeatHeard | BeatRelayed) -> None:
        self._highest_seen.note(cluster, event.beat.obeyed)
        self._inbox.put(cluster, event)

    # ---- parts ----

    def _wire_etcd(self, config: Config) -> None:
        etcd, clock = config.etcd, self._clock
        self._client = Client(
            etcd.endpoints,
            clock=clock,
            tls=None if etcd.tls is None else Tls(etcd.tls.ca, etcd.tls.certificate, etcd.tls.key),
            login=Login(etcd.user, etcd.password) if etcd.user else None,
        )
        keys = Keyspace(config.fleet)
        self._election = EtcdElection(
            self._client, keys, clock, shard=SHARD, name=config.name, address=config.address
        )
        self._nodes = EtcdControlNodes(self._client, keys, clock, name=config.name, address=config.address)
        self._records = EtcdRecordStore(self._client, keys, clock)
        self._specs = EtcdSpecStore(self._client, keys, clock)
        self._history = EtcdHistoryStore(self._client, keys, clock)

    def _name_services(self) -> dict[str, list[NameService]]:
        services: dict[str, list[NameService]] = {}
        for dns in self.config.dns:
            service: NameService
            match dns:
                case Rfc2136Config():
                    service = Rfc2136Names(
                        NameServerSettings(
                            zone=dns.zone,
                            server=ServerAddress(dns.server, dns.port),
                            key=_tsig(dns),
                            verify=tuple(ServerAddress.parse(text) for text in dns.verify),
                        )
                    )
                case AnswererConfig():
                    service = AnswererNames(dns.zone, self._table)
            services.setdefault(dns.zone, []).append(service)
        return services

    def _make_canaries(self) -> Canaries | None:
        own = self.config.canary
        if own is None:
            return None
        writer = CanaryProcess(
            user=own.user, password=own.password, name_servers=name_servers_to_ask(self.config.dns)
        )
        canaries = Canaries(
            clock=self._clock,
            cases=self.loop.cases,
            leads=lambda: self.loop.leads,
            writer=writer,
            measured=self._stories.measured,
            metrics=self._metrics,
        )
        self._stories.listen(canaries.told)
        return canaries

    def _answerer(self) -> Answerer | None:
        own = [dns for dns in self.config.dns if isinstance(dns, AnswererConfig)]
        if not own:
            return None
        zones = [AnsweredZone(dns.zone, {f"{self.config.name}.{dns.zone}": (dns.listen,)}) for dns in own]
        listens = sorted({ServerAddress(dns.listen, dns.port) for dns in own})
        return Answerer(listens, zones, self._table)

    def _grpc_server(self) -> GrpcServer:
        agents = AgentSessions(
            clock=self._clock,
            heard=self._heard,
            put=self._inbox.put,
            streams=self._streams,
            leads=self,
            welcomes=Welcomes(self.config.name, self.loop.cases, lambda: self._leadership.leader_term),
            acknowledge=self._acknowledge,
            counted=self._metrics.beats.inc,
        )
        operator = OperatorService(
            node=self.config.name,
            clock=self._clock,
            leading=self,
            forwarding=self._forwarding,
            watched=self.loop.cases,
            listen=self.loop.listen,
            next_change=self.loop.next_change,
            put=self._inbox.put,
            operations=self._operations,
            specs=self._specs,
            history=self._history,
            zones=frozenset(dns.zone.rstrip(".").lower() for dns in self.config.dns),
            canary=None if self._canaries is None else self._canaries.line,
        )
        observer = ObserverService(self.config.name, self._clock, self._heard)
        return GrpcServer(self.config.tls, agents=agents, operator=operator, observer=observer)

    def _statuses(self) -> list[ClusterStatus]:
        now, leader = self._clock.now(), self._leadership.leader_name
        statuses = []
        for cluster in sorted(self.loop.cases):
            self.loop.listen(cluster)
            status = self.loop.cases[cluster].engine.status(now)
            canary = None if self._canaries is None else self._canaries.line(cluster)
            statuses.append(replace(status, leader=leader, canary=canary))
        return statuses

    async def _watch_health(self, server: GrpcServer) -> None:
        while True:
            try:
                await self._client.status()
                self._etcd_answers = True
            except FailoverError:
                self._etcd_answers = False
            await server.is_healthy(self._etcd_answers)
            self._metrics.sessions.set(self._streams.count)
            if self.loop.leads:
                await self._say_who_is_whole()
            await asyncio.sleep(HEALTH_EVERY_S)

    async def _say_who_is_whole(self) -> None:
        for place, case in enumerate(list(self.loop.cases.values()), start=1):
            self._metrics.whole.labels(case.cluster).set(int(case.engine.is_whole(self._clock.now())))
            if place % LOOKED_AT_ONCE == 0:
                await asyncio.sleep(HEALTH_EVERY_S / LOOKED_AT_ONCE)


def _tsig(dns: Rfc2136Config) -> TsigKey:
    text = f'key "{dns.key_name}" {{ algorithm {dns.key_algorithm}; secret "{dns.key_secret}"; }};'
    return parse_key(text, source=f"dns zone {dns.zone}")
