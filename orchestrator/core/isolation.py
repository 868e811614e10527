"""Is it this leader that is cut off, and not the cluster that is lost? (protocol.md, "ObserverIsolated")

Pure. A leader that hears no member at all asks the other control nodes; where one of them does hear a member,
it gives up the election, so that one who sees can act. Where nobody hears anything, standing down would only
pass the question round.
"""

from __future__ import annotations

from common.ids import MemberName
from common.profile import Profile
from common.timebase import Instant, before_ms, elapsed_ms
from orchestrator.core.diagnose import ASK_AGAIN_MS
from orchestrator.core.effects import AskObservers, StandDown
from orchestrator.core.move import Move
from orchestrator.core.reach import answers
from orchestrator.core.reasons import Because, Reason
from orchestrator.core.record import Phase, Record
from orchestrator.core.view import ClusterView


def isolated(record: Record, view: ClusterView, now: Instant, profile: Profile) -> Move | None:
    """None while a member is heard, while nobody else could be asked, or before the first words are due."""
    leading = view.leading
    if leading is None or not leading.other_nodes or view.listening_since is None:
        return None
    warm_at = before_ms(now, 2 * profile.suspect_ceiling_ms)
    if view.listening_since > warm_at or any(
        answers(view.member(m.name), now, profile) for m in record.members
    ):
        return None
    target = _whom_to_ask_about(record)
    suspicion = view.suspicion
    if suspicion is None or suspicion.member != target:
        because = Because(Reason.OBSERVER_DOUBTS_ITSELF, target, "no member of the cluster is heard")
        ask = AskObservers(target, profile.confirm_within_ms)
        return Move((because,), effects=(ask,), again_after_ms=profile.confirm_within_ms)
    heard_at = suspicion.heard_elsewhere_at
    if heard_at is not None and heard_at >= before_ms(now, profile.suspect_ceiling_ms):
        text = (
            f"another control node heard {target} {elapsed_ms(since=heard_at, now=now)} ms ago, this one hears "
            "nobody: it gives up the election"
        )
        return Move((Because(Reason.OBSERVER_STANDS_DOWN, target, text),), effects=(StandDown(text),))
    asked_ms = elapsed_ms(since=suspicion.asked_at, now=now)
    if asked_ms < ASK_AGAIN_MS:
        return None
    because = Because(Reason.OBSERVER_DOUBTS_ITSELF, target, "nobody is heard, here or elsewhere")
    return Move((because,), effects=(AskObservers(target, profile.confirm_within_ms),))


def _whom_to_ask_about(record: Record) -> MemberName:
    """The primary; while it is being replaced, a member that should be alive."""
    if record.phase is Phase.STABLE and record.primary is not None:
        return record.primary
    others = [m.name for m in record.members if m.name != record.primary]
    return others[0] if others else record.members[0].name
