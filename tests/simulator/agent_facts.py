"""What an agent in virtual time says of its member (agents/facts_keeper.py, agents/postgres/facts.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agents.core.lineage import latest_end
from common.facts import Facts, Peer, PostgresState
from common.lsn import Lsn

if TYPE_CHECKING:
    from tests.simulator.model_agent import Agent


def facts_of(agent: Agent) -> Facts:
    pg, now, prober, state, told = agent.postgres, agent.now, agent.prober, agent.state, agent.told
    receiver, end = pg.receiver, pg.end
    if receiver is not None and receiver.sender.streaming:
        agent.end_of_wal = None
    primary = pg.state is PostgresState.PRIMARY
    if primary:
        flushed = replayed = pg.flushed_end
    else:
        flushed, replayed = pg.reported_flush, pg.replayed_end
        prober.forget_writes()
    last, first = prober.last_write_at, prober.first_write_at
    return Facts(
        cluster=state.cluster,
        member=state.member,
        incarnation=state.incarnation,
        obeyed=state.obeyed,
        system_identifier=pg.system_identifier,
        postgres=PostgresState.HALF if state.rebuilding else pg.state,
        postmaster_alive=pg.running or pg.state is PostgresState.STARTING,
        open=agent.open and primary,
        timeline=pg.timeline,
        history=pg.history,
        flushed_lsn=Lsn(flushed),
        replayed_lsn=Lsn(replayed),
        insert_lsn=Lsn(end),
        end_of_wal=latest_end(agent.end_of_wal, state.seal),
        rule_in_force=pg.loaded_rule if pg.running else None,
        rule_confirmation=agent.confirmation,
        promotion=state.promotion,
        promotion_failed=told.promotion_failed,
        seal=state.seal,
        peers=tuple(
            Peer(s.name, "streaming" if s.streaming else "startup", Lsn(s.flushed))
            for s in pg.senders
            if s.alive
        ),
        receiver_alive=receiver is not None,
        received_age_ms=None if receiver is None else (agent.world.now_us - receiver.received_at) // 1000,
        write_state=prober.write_state(),
        write_age_ms=(now - last) // 1000 if primary and last is not None else None,
        first_write_age_ms=(now - first) // 1000 if primary and first is not None else None,
        oldest_lsn=Lsn(pg.oldest if primary else 0),
        replay_paused=pg.held_by == "paused" and pg.replayed_end < end,
        replay_backlog_bytes=end - replayed if pg.state is PostgresState.STANDBY else 0,
        rebuild_needed=told.rebuild_needed,
        error=agent.failure or told.error,
        highest_version=state.obeyed,
        highest_number=state.highest_number,
    )
