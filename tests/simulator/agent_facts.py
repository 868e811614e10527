"""What an agent in virtual time says of its member (agents/facts_keeper.py, agents/postgres/facts.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.facts import Facts, Peer, PostgresState
from common.lsn import Lsn

if TYPE_CHECKING:
    from tests.simulator.model_agent import Agent


def facts_of(agent: Agent) -> Facts:
    pg, now, prober = agent.postgres, agent.now, agent.prober
    if pg.receiver is not None and pg.receiver.sender.streaming:
        agent.end_of_wal = None
    primary = pg.state is PostgresState.PRIMARY
    if not primary:
        prober.forget_writes()
    last, first = prober.last_write_at, prober.first_write_at
    return Facts(
        cluster=agent.state.cluster,
        member=agent.state.member,
        incarnation=agent.state.incarnation,
        obeyed=agent.state.obeyed,
        system_identifier=pg.system_identifier,
        postgres=PostgresState.HALF if agent.state.rebuilding else pg.state,
        postmaster_alive=pg.running or pg.state is PostgresState.STARTING,
        open=agent.open and primary,
        timeline=pg.timeline,
        history=pg.history,
        flushed_lsn=Lsn(pg.flushed_end if primary else pg.reported_flush),
        replayed_lsn=Lsn(pg.flushed_end if primary else pg.replayed_end),
        insert_lsn=Lsn(pg.end),
        end_of_wal=agent.end_of_wal,
        rule_confirmation=agent.confirmation,
        promotion=agent.state.promotion,
        promotion_failed=agent.told.promotion_failed,
        seal=agent.state.seal,
        peers=tuple(
            Peer(s.name, "streaming" if s.streaming else "startup", Lsn(s.flushed))
            for s in pg.senders
            if s.alive
        ),
        receiver_alive=pg.receiver is not None,
        received_age_ms=(agent.world.now_us - pg.receiver.received_at) // 1000
        if pg.receiver is not None
        else None,
        write_state=prober.write_state(),
        write_age_ms=(now - last) // 1000 if primary and last is not None else None,
        first_write_age_ms=(now - first) // 1000 if primary and first is not None else None,
        replay_paused=pg.held_by == "paused" and pg.replayed_end < pg.end,
        replay_backlog_bytes=pg.end - pg.replayed_end if pg.state is PostgresState.STANDBY else 0,
        rebuild_needed=agent.told.rebuild_needed,
        error=agent.told.error,
        highest_version=agent.state.obeyed,
    )
