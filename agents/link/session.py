"""The one stream to the leader: facts up, assignments down (protos/agent.proto).

Who leads is known from the beats' acknowledgements, from a follower's answer, or by trying one control node
after the other. Nothing is decided here; an assignment is handed on in the order in which it came.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Final

import grpc
import grpc.aio
import structlog

from agents.config import AgentConfig, ControlAddress
from agents.link.beat import Beats
from agents.link.reports import Reports, Urgency
from common import codec
from common.assignment import Assignment
from common.clock import Clock
from common.profile import Profile
from common.resilience import POLICIES
from common.timebase import Instant, elapsed_ms
from protos import agent_pb2, agent_pb2_grpc, beat_pb2

log: Any = structlog.get_logger()

PROTOCOL_VERSION: Final = 1
SOFTWARE: Final = "primacy-agent 0.1.0"
LEADER_KEY: Final = "primacy-leader"
WELCOME_WITHIN_S: Final = POLICIES["agent.session.open"].timeout_s
WRITE_WITHIN_S: Final = POLICIES["agent.facts.write"].timeout_s
FACTS_EVERY_S: Final = 1.0
DEBOUNCE_S: Final = 0.08
"""What nobody waits for is told together."""
RETRY_FIRST_MS: Final = 50
RETRY_LONGEST_MS: Final = 500
UDP_FILTERED_MS: Final = 2_000
"""After this long without an acknowledgement, beats go over the stream as well."""
_UNKNOWN: Final = 0xFFFFFFFF
_CHANNEL_OPTIONS: Final = (
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 3_000),
    ("grpc.enable_retries", 0),
    ("grpc.max_receive_message_length", 1 << 20),
    ("grpc.initial_reconnect_backoff_ms", RETRY_FIRST_MS),
    ("grpc.max_reconnect_backoff_ms", RETRY_LONGEST_MS),
    # A channel lives for one try; no subchannel of an earlier one, with its back-off, is taken over.
    ("grpc.use_local_subchannel_pool", 1),
)
_BROKEN: Final = (
    grpc.RpcError,
    grpc.aio.UsageError,
    grpc.aio.InternalError,
    asyncio.InvalidStateError,  # the call had ended, and nobody had read that yet, when something was written
    TimeoutError,
)
Call = Any
"""grpc.aio.StreamStreamCall; its stubs are untyped."""


class Session:
    def __init__(
        self,
        config: AgentConfig,
        keeper: Reports,
        beats: Beats,
        clock: Clock,
        profile: Callable[[], Profile],
    ) -> None:
        self._config, self._keeper, self._beats, self._clock = config, keeper, beats, clock
        self._profile = profile
        self._leader: ControlAddress | None = None
        self._leader_term = 0
        self._at: ControlAddress | None = None
        self._call: Call = None
        self._tried = random.randrange(len(config.control))
        self._facts_due = asyncio.Event()
        self._facts_at_once = asyncio.Event()
        self._leader_changed = asyncio.Event()
        self._writing = asyncio.Lock()
        self._last_end: tuple[str, Any] = ("", None)
        self._beats_on_stream = False
        self.is_open = False
        self.opened_count = 0
        self.on_assignment: Callable[[Assignment], None] = lambda order: None
        self.on_profile: Callable[[Profile], None] = lambda profile: None
        self.on_peers: Callable[[Sequence[str]], None] = lambda addresses: None
        keeper.listen(self._facts_changed)

    def leader_known(self, name: str, term: int) -> None:
        """From an acknowledgement. A newer term's leader is gone to at once."""
        if term < self._leader_term:
            return
        found = next((node for node in self._config.control if node.name == name), None)
        if found is None:
            return
        self._leader_term = term
        if found == self._leader and (self._at == found or self._at is None):
            return
        self._leader = found
        if self._at != found:
            self._leader_changed.set()

    @property
    def trouble(self) -> str:
        """In words; empty while there is none that this stream does not tell by being closed."""
        if not self._beats_on_stream:
            return ""
        return (
            f"UDP is not answered by {self._at.name if self._at else 'nobody'}; its beats go over the stream"
        )

    async def run(self) -> None:
        failures = 0
        while True:
            self._leader_changed.clear()
            node = self._leader or self._next_in_turn()
            self._at = node
            welcomed = False
            try:
                welcomed = await self._be_connected_until_called_away(node)
            finally:
                self._at, self.is_open, self._beats_on_stream = None, False, False
            failures = 0 if welcomed else failures + 1
            if self._leader is node and failures:
                self._leader = None  # believed until it could not be reached; the next ack says it again
            await self._pause(failures)

    async def _pause(self, failures: int) -> None:
        if self._leader_changed.is_set():
            return
        longest_ms = min(RETRY_FIRST_MS << min(failures, 4), RETRY_LONGEST_MS)
        with suppress(TimeoutError):
            async with asyncio.timeout(random.uniform(RETRY_FIRST_MS, longest_ms) / 1000):
                await self._leader_changed.wait()

    async def _be_connected_until_called_away(self, node: ControlAddress) -> bool:
        """Another one leads: the call is cancelled, and with it its task, since a write that waits for the
        connection to be made does not hear of the call's end."""
        async with asyncio.TaskGroup() as group:
            connection = group.create_task(self._be_connected(node))

            async def call_away() -> None:
                await self._leader_changed.wait()
                if self._call is not None:
                    self._call.cancel()
                connection.cancel()

            caller = group.create_task(call_away())
            connection.add_done_callback(lambda _: caller.cancel())
        return not connection.cancelled() and connection.result()

    async def _be_connected(self, node: ControlAddress) -> bool:
        """Until the stream ends; answers whether it was ever welcomed."""
        host = f"[{node.address}]" if ":" in node.address else node.address
        async with grpc.aio.secure_channel(
            f"{host}:{node.grpc_port}", self._credentials(), options=_CHANNEL_OPTIONS
        ) as channel:
            call = agent_pb2_grpc.AgentsStub(channel).Session()
            self._call = call
            welcomed = False
            try:
                welcomed = await self._open(call, node)
                if welcomed:
                    await self._both_ways(call)
            except _BROKEN as gone:
                log.debug("session.broke", control=node.name, why=type(gone).__name__)
            except asyncio.CancelledError:
                # grpc raises it in us when *the call* was cancelled, by a writer that failed.
                if _we_are_cancelled():
                    raise
            finally:
                self._call = None
                call.cancel()
            if not self._leader_changed.is_set():
                await self._learn_from_the_end(call, node, welcomed)
            return welcomed

    async def _open(self, call: Call, node: ControlAddress) -> bool:
        state = self._keeper.facts()
        hello = agent_pb2.Hello(
            cluster=state.cluster,
            member=state.member,
            incarnation=state.incarnation,
            version=PROTOCOL_VERSION,
            software=SOFTWARE,
        )
        async with asyncio.timeout(WELCOME_WITHIN_S):
            await call.write(agent_pb2.Up(hello=hello))
            down = await call.read()
        if down is grpc.aio.EOF or down.WhichOneof("what") != "welcome":
            return False
        welcome = down.welcome
        self._keep_to(welcome)
        self._leader, self._leader_term = node, max(self._leader_term, welcome.term)
        self.is_open = True
        self.opened_count += 1
        log.info("session.opened", control=node.name, term=welcome.term)
        return True

    def _keep_to(self, welcome: agent_pb2.Welcome) -> None:
        self.on_peers(tuple(welcome.peers))
        if not welcome.profile:
            return
        try:
            self.on_profile(codec.decode(welcome.profile.encode(), Profile))
        except ValueError as error:
            log.warning("profile.refused", why=str(error))

    async def _both_ways(self, call: Call) -> None:
        """The reader ends when the call does; it then ends the writers."""
        async with asyncio.TaskGroup() as group:
            writers = [
                group.create_task(until_broken(self._write_facts(call), call)),
                group.create_task(until_broken(self._write_beats(call), call)),
            ]
            await until_broken(self._read_all(call), call)
            for writer in writers:
                writer.cancel()

    async def _read_all(self, call: Call) -> None:
        while (down := await call.read()) is not grpc.aio.EOF:
            await self._receive(down)

    async def _receive(self, down: agent_pb2.Down) -> None:
        match down.WhichOneof("what"):
            case "assignment":
                try:
                    assignment = codec.decode(down.assignment, Assignment)
                except ValueError as error:
                    log.error("order.unreadable", why=str(error))
                    return
                self.on_assignment(assignment)
            case "ack":
                ack = down.ack
                self._beats.acknowledged_on_stream(
                    sequence=ack.sequence,
                    sent_us=ack.sent_us,
                    leader=ack.leader,
                    term=ack.term,
                    epoch=ack.epoch,
                    lease_ms=ack.lease_ms,
                )
            case "welcome":  # somebody applied another profile: the leader judges our silence by it already
                self._keep_to(down.welcome)
            case _:
                return  # a newer leader may say more

    async def _write_facts(self, call: Call) -> None:
        while True:
            self._facts_due.clear()
            self._facts_at_once.clear()
            facts = codec.encode(self._keeper.facts())
            await self._write(call, agent_pb2.Up(facts=facts))
            with suppress(TimeoutError):
                async with asyncio.timeout(FACTS_EVERY_S):
                    await self._facts_due.wait()
                    with suppress(TimeoutError):
                        async with asyncio.timeout(DEBOUNCE_S):
                            await self._facts_at_once.wait()

    async def _write_beats(self, call: Call) -> None:
        opened_at = self._clock.now()
        while True:
            profile = self._profile()
            primary = self._keeper.is_primary
            await asyncio.sleep(
                (profile.beat_primary_every_ms if primary else profile.beat_standby_every_ms) / 1000
            )
            self._beats_on_stream = self._udp_is_silent(opened_at)
            if not self._beats_on_stream:
                continue
            await self._write(call, agent_pb2.Up(beat=self._beat()))

    async def _write(self, call: Call, up: agent_pb2.Up) -> None:
        async with asyncio.timeout(WRITE_WITHIN_S), self._writing:
            await call.write(up)

    def _udp_is_silent(self, opened_at: Instant) -> bool:
        """Acknowledgements come back over the path that the beat took, so once over the stream, it stays."""
        udp_at = self._beats.udp_acknowledged_at
        since = opened_at if udp_at is None else max(opened_at, udp_at)
        return elapsed_ms(since=since, now=self._clock.now()) > UDP_FILTERED_MS

    def _beat(self) -> beat_pb2.Beat:
        frame = self._beats.next_beat()
        return beat_pb2.Beat(
            cluster=self._config.cluster,
            member=self._config.member,
            boot_id=frame.header.boot_id,
            sequence=frame.header.sequence,
            sent_us=frame.header.sent_us,
            obeyed_epoch=frame.obeyed.epoch,
            obeyed_revision=frame.obeyed.revision,
            incarnation=frame.incarnation,
            system_identifier=int(frame.system_identifier or 0),
            flags=frame.flags.to_int(),
            timeline=frame.timeline,
            flushed_lsn=frame.flushed_lsn,
            replayed_lsn=frame.replayed_lsn,
            insert_lsn=frame.insert_lsn,
            write_age_ms=_or_unknown(frame.write_age_ms),
            received_age_ms=_or_unknown(frame.received_age_ms),
            oldest_voter_reply_age_ms=_or_unknown(frame.voter_reply_age_ms),
            free_mib=_or_unknown(frame.free_mib),
        )

    async def _learn_from_the_end(self, call: Call, node: ControlAddress, welcomed: bool) -> None:
        """A control node that does not lead says who does."""
        try:
            async with asyncio.timeout(0.5):
                code, metadata = await call.code(), await call.trailing_metadata()
                words = await call.details()
        except (TimeoutError, grpc.RpcError, grpc.aio.UsageError):
            return
        if code is grpc.StatusCode.FAILED_PRECONDITION:
            address = next((str(value) for key, value in metadata or () if key == LEADER_KEY), "")
            self._leader = next(
                (n for n in self._config.control if f"{n.address}:{n.grpc_port}" == address and n != node),
                None,
            )
        elif code is not grpc.StatusCode.CANCELLED and (welcomed or self._last_end != (node.name, code)):
            self._last_end = (node.name, code)
            log.info("session.ended", control=node.name, code=code.name, why=words, welcomed=welcomed)

    def _facts_changed(self, urgency: Urgency) -> None:
        self._facts_due.set()
        if urgency >= Urgency.REPORTED:
            self._facts_at_once.set()

    def _next_in_turn(self) -> ControlAddress:
        self._tried = (self._tried + 1) % len(self._config.control)
        return self._config.control[self._tried]

    def _credentials(self) -> grpc.ChannelCredentials:
        """Read anew for each connection, so that a renewed certificate is taken up."""
        files = self._config.tls
        return grpc.ssl_channel_credentials(
            files.ca_file.read_bytes(), files.key_file.read_bytes(), files.certificate_file.read_bytes()
        )


async def until_broken(work: Awaitable[None], call: Call) -> None:
    """Whoever fails ends the call, and by that the others; how it ended, the call says."""
    try:
        await work
    except _BROKEN:
        call.cancel()
    except asyncio.CancelledError:
        if _we_are_cancelled():
            raise
        call.cancel()


def _we_are_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _or_unknown(value: int | None) -> int:
    return _UNKNOWN if value is None else min(value, _UNKNOWN - 1)
