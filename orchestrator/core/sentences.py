"""What each reason and each refusal means, for people: one sentence, and what to do where there is something.

Pure. `docs/reasons.md` is made from here (orchestrator/cli/reasons_page.py). A reason without a sentence fails a
test, and so does one that no story and no core test brings about.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from orchestrator.core.reasons import Reason, Refusal

REASONS: Mapping[Reason, str] = MappingProxyType(
    {
        Reason.NO_RECORD: "The record was not read yet in this term, so nothing is decided.",
        Reason.INITIALISING_CHOSEN: "This member was chosen to make the cluster.",
        Reason.INITIALISING_WAITS: "The cluster is not born yet: members are waited for, or the one that makes it.",
        Reason.INITIALISING_WITHDRAWN: "The member that was to make the cluster was silent for a minute.",
        Reason.INITIALISED: "The cluster was made; its first primary starts in solo.",
        Reason.PRIMARY_HEALTHY: "The primary speaks and writes. A text beside it says what its commits wait for.",
        Reason.PRIMARY_LATE: "The primary missed a beat or two, which is not suspicious yet.",
        Reason.WARMING_UP: "This control node does not lead, or has not listened or waited long enough to judge.",
        Reason.PRIMARY_SUSPECTED: "The primary was silent for longer than the threshold; the witnesses are asked.",
        Reason.WITNESS_DISAGREES: (
            "The primary is silent towards us, but a standby received from it since: no failover. "
            "Look at the path between the primary and the control nodes."
        ),
        Reason.PRIMARY_CRASHED: "The primary's agent says that its postmaster is gone.",
        Reason.PRIMARY_HOST_LOST: "The primary is silent and no witness hears it any more: its host is taken for lost.",
        Reason.PRIMARY_CANT_WRITE: "The primary's commits are not flushed: its disk is taken for stalled.",
        Reason.PRIMARY_DISK_FULL: "The primary's disk is full: it went down, or another member has room and takes over.",
        Reason.PRIMARY_OUT_OF_TOUCH: (
            "The primary's beats come (UDP), but its commits wait, and neither its voters nor our orders reach it (TCP)."
        ),
        Reason.PRIMARY_REBUILT: "The primary's agent lost its state or its data directory, and with it every promise.",
        Reason.OBSERVER_DOUBTS_ITSELF: (
            "This control node hears nobody of the cluster, so it rather suspects itself. Look at its network."
        ),
        Reason.OBSERVER_STANDS_DOWN: (
            "Another control node hears the cluster and this one does not: it gives up the election."
        ),
        Reason.AGENT_LOST: (
            "The primary's agent is silent, but its PostgreSQL answers our own query: no failover. Look at the agent."
        ),
        Reason.CONTROL_PATH_CUT: (
            "Another control node hears the primary: only our path to it is cut, and there is no failover."
        ),
        Reason.SEALS_OUT_OF_REACH: (
            "Leaving the epoch would be an outage: those who answer can't prove that nothing more was acknowledged. "
            "The text says who is missing; bring one of them back."
        ),
        Reason.CANDIDATE_OUT_OF_REACH: (
            "Nobody could take over; the text has each member's reason. A crashed primary is started again in place."
        ),
        Reason.SEALING_WAITS_FOR_PRIMARY: "A switchover: the primary stops cleanly first, the others go on streaming.",
        Reason.HANDOVER_TIME_IS_UP: "A switchover: the primary did not stop in time, so everybody seals now.",
        Reason.SEALS_AWAITED: (
            "Enough members must seal before anybody can be chosen. If it lasts, bring back one of those named."
        ),
        Reason.BETTER_CANDIDATE_AWAITED: "Somebody could be chosen; others who answer get a moment more to seal.",
        Reason.NO_CANDIDATE_MEETS_THE_BOUNDS: (
            "Everybody who is sealed lacks what may have been acknowledged, or must not take over. "
            "Bring back a member that has it."
        ),
        Reason.CANDIDATE_CHOSEN: "This member becomes the primary; the text says under which rule and why the others do not.",
        Reason.PROMOTION_AWAITED: "The candidate is being promoted; its own facts must show it.",
        Reason.CANDIDATE_GIVEN_UP: "The candidate failed, fell silent or took too long: another epoch, another candidate.",
        Reason.PROMOTED: "The candidate is the primary, on its own timeline, under its rule; or an operation ended so.",
        Reason.SETTLED: "The new primary's voters have its first commit: what came before needs no witnesses any more.",
        Reason.INCARNATION_ADOPTED: "A member speaks as a new incarnation, which no older rule counts.",
        Reason.MEMBERSHIP_CHANGED: "The record follows the operator's file.",
        Reason.RULE_CHANGE_BEGUN: "The rule changes by one step; until it is in force both rules count.",
        Reason.RULE_CHANGE_AWAITED: (
            "A rule change is open and its end is awaited; a switchover waits for it too. "
            "If it lasts, bring a voter of the new rule back."
        ),
        Reason.RULE_CHANGE_TURNED_BACK: "The new rule can't be met any more: the same steps lead back to the old one.",
        Reason.RULE_CHANGE_NEVER_ENDS: (
            "So many members lost what they had that neither rule of an open change can be met again: the epoch is left."
        ),
        Reason.RULE_CHANGE_FINISHED: "The new rule is in force, and its voters have everything that came before.",
        Reason.LAST_VOTER_LOST: (
            "No voter streams any more: the primary goes on alone (solo), and nobody could replace it. "
            "Bring a standby back."
        ),
        Reason.STRICT_WAITS: (
            "No voter streams any more and the cluster is strict: commits wait. Bring a standby back, "
            "or set when_last_voter_lost = 'solo'."
        ),
        Reason.REBUILD_ALLOWED: "A member may throw away WAL that its upstream does not have, or fill an empty directory.",
        Reason.SWITCHOVER_ASKED: "A person asked for a switchover.",
        Reason.FAILOVER_ASKED: "A person asked for a failover.",
        Reason.REFUSED: "What was asked for can't be done; nothing was changed.",
        Reason.RECORD_WENT_BACK: (
            "Somebody has stored more than the record knows: etcd was restored or emptied. Nothing is done for this "
            "cluster until the record is adopted."
        ),
        Reason.FOREIGN_ETCD: (
            "The record was written in another etcd cluster. Nothing is done for this cluster until it is adopted."
        ),
        Reason.FOREIGN_DATA_DIRECTORY: (
            "A member has a data directory, but there is no record: nothing is initialised beside it. "
            "Empty it, or restore the record."
        ),
        Reason.SEAL_NOTED: "A seal report is kept in the record.",
    }
)

REFUSALS: Mapping[Refusal, str] = MappingProxyType(
    {
        Refusal.IS_PRIMARY: "It is the member to be replaced.",
        Refusal.SILENT: "It is not heard.",
        Refusal.NOT_SEALED: "It did not seal in this epoch, so it may still be sent, or hand out, older commits.",
        Refusal.NOFAILOVER: "The operator's file says that it must never take over; only a primary may go on as one.",
        Refusal.DAMAGED: "Its WAL ends below what it once had flushed: its disk lost something.",
        Refusal.BELOW_BOUND: "It lacks what may have been acknowledged.",
        Refusal.NOT_STREAMING: "The primary does not see it streaming.",
        Refusal.NO_INCARNATION: "Its present incarnation is not in the record yet.",
        Refusal.REBUILDING: "Its data directory is missing or half made.",
        Refusal.POSTGRES_DOWN: "Its PostgreSQL does not run as a standby.",
        Refusal.TOO_FAR_BEHIND: "It has too much left to replay for a switchover, or its replay is paused.",
        Refusal.NOT_THE_ONE_MEANT: "Another member was asked for.",
        Refusal.RANKED_LOWER: "It could take over too; another one is preferred.",
        Refusal.GAVE_UP_BEFORE: "It was the candidate already and was given up; another one is tried first.",
    }
)
