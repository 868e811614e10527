"""The faults by name, and which of them a plan draws how often.

Rule of admission: physics only (power, network, disks, processes, late messages, people), never a look at what
the code under test intends.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from tests.simulator import experiments, experiments_late, experiments_rare
from tests.simulator import faults_aimed as aimed
from tests.simulator import faults_clauses as clauses
from tests.simulator import faults_control as control
from tests.simulator import faults_host as host
from tests.simulator import faults_plain as plain
from tests.simulator import faults_rare as rare
from tests.simulator.scene import Fault

_PLAIN: tuple[Fault, ...] = (
    plain.crash_primary,
    plain.crash_anybody,
    plain.lose_primary,
    plain.lose_anybody,
    plain.cut_two,
    plain.restart_agent,
    plain.isolate_primary,
    plain.switchover,
    plain.k_is_changed,
    plain.preferences_change,
    plain.late_orders,
    *host.PLAIN,
)
_AIMED: tuple[Fault, ...] = (
    aimed.agent_dies_at_a_step,
    aimed.agent_dies_after_obeying,
    aimed.late_orders_to_a_deaf_member,
    aimed.leader_dies_after_a_save,
    aimed.leader_dies_in_a_dispatch,
    aimed.only_one_voter_keeps_up,
    aimed.new_primary_is_lost_at_once,
    aimed.what_only_the_new_primary_has,
    aimed.what_only_the_new_primary_has,
    aimed.voter_is_removed_while_the_other_lags,
    aimed.voter_is_removed_while_the_other_lags,  # twice: it succeeds seldom
    aimed.all_must_have_it_and_one_hangs,
    aimed.primary_is_lost_in_a_rule_change,
    aimed.primary_crashes_in_a_rule_change,
    aimed.candidate_is_killed_in_its_promotion,
    aimed.sealed_member_restarts,
    aimed.old_primary_comes_back,
    aimed.two_at_once,
    aimed.cascade,
)
_CLAUSES: tuple[Fault, ...] = (
    *clauses.AT_A_CLAUSE,
    experiments.one_is_gone_for_good,
    experiments.switchover_is_clean,
)
_CONTROL: tuple[Fault, ...] = (
    control.leader_is_killed,
    control.leader_is_killed_in_a_failover,
    control.leader_stands_still,
    control.leader_is_paused_with_its_clock,
    control.leader_stands_still_in_a_failover,
    control.leader_stands_still_in_a_rule_change,
    control.leader_is_cut_from_etcd,
    control.leader_hears_nobody,
    control.leader_does_not_hear_the_primary,
    control.control_node_restarts,
    control.all_control_nodes_are_down,
    control.control_nodes_stand_still_in_turn,
    control.etcd_has_no_majority,
    control.etcd_fails_in_a_failover,
    control.etcd_is_slow,
    control.answers_of_etcd_are_lost,
    control.name_servers_are_away,
    control.name_servers_are_slow,
    control.leader_is_cut_from_dns,
    control.site_is_cut,
    control.site_is_lost,
    control.partial_partition,
    control.storm,
    control.another_leader,
)
_RARE: tuple[Fault, ...] = (
    plain.lost_state,
    plain.lost_state,
    plain.lost_state,
    plain.lost_state,
    host.data_directory_is_lost,
    host.data_directory_is_lost,
    control.etcd_is_restored,
)


def _name(fault: Fault) -> str:
    return fault.__name__


PLAIN = tuple(map(_name, _PLAIN))
AIMED = tuple(map(_name, _AIMED))
HOST = tuple(map(_name, host.AIMED))
CLAUSES = tuple(map(_name, _CLAUSES))
CONTROL = tuple(map(_name, _CONTROL))
_HARD: tuple[Fault, ...] = (*rare.HARD, *experiments_rare.RARELY)
HARD = tuple(map(_name, _HARD))
_EXPERIMENTS: tuple[Fault, ...] = (*experiments.EXPERIMENTS, *experiments_late.LATE, *experiments_late.LATE)
EXPERIMENTS = tuple(map(_name, _EXPERIMENTS))
RARE = tuple(map(_name, _RARE))
"""After these a round may end in an exception."""
KINDS: Mapping[str, Fault] = MappingProxyType(
    {
        _name(fault): fault
        for fault in (
            *_PLAIN,
            *_AIMED,
            *host.AIMED,
            *_CLAUSES,
            *_HARD,
            *_CONTROL,
            *_RARE,
            *_EXPERIMENTS,
        )
    }
)
