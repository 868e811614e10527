"""Why something was decided, or not: stable names, one list for logs, metrics, status and tests.

Pure. Every reason has a sentence, in `sentences.py`, from which `docs/reasons.md` is made.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from common.ids import MemberName


class Reason(StrEnum):
    """The value is what appears in logs and JSON."""

    NO_RECORD = "no_record"
    INITIALISING_CHOSEN = "initialising_chosen"
    INITIALISING_WAITS = "initialising_waits"
    INITIALISING_WITHDRAWN = "initialising_withdrawn"
    INITIALISED = "initialised"
    PRIMARY_HEALTHY = "primary_healthy"
    PRIMARY_LATE = "primary_late"
    WARMING_UP = "warming_up"
    PRIMARY_SUSPECTED = "primary_suspected"
    WITNESS_DISAGREES = "witness_disagrees"
    PRIMARY_CRASHED = "primary_crashed"
    PRIMARY_HOST_LOST = "primary_host_lost"
    PRIMARY_CANT_WRITE = "primary_cant_write"
    PRIMARY_OUT_OF_TOUCH = "primary_out_of_touch"
    PRIMARY_DISK_FULL = "primary_disk_full"
    PRIMARY_REBUILT = "primary_rebuilt"
    OBSERVER_DOUBTS_ITSELF = "observer_doubts_itself"
    OBSERVER_STANDS_DOWN = "observer_stands_down"
    AGENT_LOST = "agent_lost"
    CONTROL_PATH_CUT = "control_path_cut"
    SEALS_OUT_OF_REACH = "seals_out_of_reach"
    CANDIDATE_OUT_OF_REACH = "candidate_out_of_reach"
    SEALING_WAITS_FOR_PRIMARY = "sealing_waits_for_primary"
    HANDOVER_TIME_IS_UP = "handover_time_is_up"
    SEALS_AWAITED = "seals_awaited"
    BETTER_CANDIDATE_AWAITED = "better_candidate_awaited"
    NO_CANDIDATE_MEETS_THE_BOUNDS = "no_candidate_meets_the_bounds"
    CANDIDATE_CHOSEN = "candidate_chosen"
    PROMOTION_AWAITED = "promotion_awaited"
    CANDIDATE_GIVEN_UP = "candidate_given_up"
    PROMOTED = "promoted"
    SETTLED = "settled"
    INCARNATION_ADOPTED = "incarnation_adopted"
    MEMBERSHIP_CHANGED = "membership_changed"
    RULE_CHANGE_BEGUN = "rule_change_begun"
    RULE_CHANGE_AWAITED = "rule_change_awaited"
    RULE_CHANGE_TURNED_BACK = "rule_change_turned_back"
    RULE_CHANGE_NEVER_ENDS = "rule_change_never_ends"
    RULE_CHANGE_FINISHED = "rule_change_finished"
    LAST_VOTER_LOST = "last_voter_lost"
    STRICT_WAITS = "strict_waits"
    REBUILD_ALLOWED = "rebuild_allowed"
    SWITCHOVER_ASKED = "switchover_asked"
    FAILOVER_ASKED = "failover_asked"
    REFUSED = "refused"
    RECORD_WENT_BACK = "record_went_back"
    FOREIGN_ETCD = "foreign_etcd"
    FOREIGN_DATA_DIRECTORY = "foreign_data_directory"
    SEAL_NOTED = "seal_noted"


class Because(msgspec.Struct, frozen=True, gc=False):
    """A reason with what was measured."""

    reason: Reason
    member: MemberName | None = None
    text: str = ""
    """The measured value and the limit, in words."""


class Refusal(StrEnum):
    """Why a member can't be the candidate; each is reported with the measured value."""

    IS_PRIMARY = "is_primary"
    SILENT = "silent"
    NOT_SEALED = "not_sealed"
    NOFAILOVER = "nofailover"
    DAMAGED = "damaged"
    BELOW_BOUND = "below_bound"
    NOT_STREAMING = "not_streaming"
    NO_INCARNATION = "no_incarnation"
    REBUILDING = "rebuilding"
    POSTGRES_DOWN = "postgres_down"
    TOO_FAR_BEHIND = "too_far_behind"
    NOT_THE_ONE_MEANT = "not_the_one_meant"
    RANKED_LOWER = "ranked_lower"
    GAVE_UP_BEFORE = "gave_up_before"


class Refused(msgspec.Struct, frozen=True, gc=False):
    member: MemberName
    refusal: Refusal
    text: str


class Ranking(msgspec.Struct, frozen=True, gc=False):
    best: MemberName | None
    refused: tuple[Refused, ...]
    """Every other member, with the reason."""
