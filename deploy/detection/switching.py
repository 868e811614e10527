"""Gives the cluster another profile the way people do: its file is changed and applied.

It counts as done when the agents beat at the new pace, as they are heard; what the leader says of it is not enough.
"""

from __future__ import annotations

import re
import time

from common.profile import PROFILES
from deploy.detection.watching import Listeners
from deploy.lab.fault import now_us
from deploy.lab.lab import LabFailed
from deploy.lab.witnessed import Witnessed

SWITCHED_WITHIN_S = 15.0
_LOOK_OVER_S = 2.0
_PROFILE = re.compile(r'^profile = "\w+"$', re.MULTILINE)


def with_profile(text: str, profile: str) -> str:
    """The cluster's file with another profile. Raise ValueError where it names none."""
    changed, count = _PROFILE.subn(f'profile = "{profile}"', text)
    if count != 1:
        raise ValueError(f"the cluster's file names a profile {count} times")
    return changed


def beats_at(period_ms: float | None, profile: str) -> bool:
    """Whether beats of a primary that come so often are those of this profile; the next one is twice as far."""
    if period_ms is None:
        return False
    wanted_ms = PROFILES[profile].beat_primary_every_ms
    return wanted_ms * 0.75 <= period_ms <= wanted_ms * 1.25


def switch(cluster: Witnessed, listeners: Listeners, profile: str) -> float:
    """Seconds until the primary was heard at the new pace, the look of two seconds not counted. Raise LabFailed."""
    file = cluster.lab.files.cluster_file(cluster.cluster)
    file.write_text(with_profile(file.read_text(), profile))
    began = time.monotonic()
    done = cluster.lab.primacy("cluster", "apply", str(file))
    if done.returncode != 0:
        raise LabFailed(f"primacy cluster apply: {done.stdout}{done.stderr}")
    cluster.watch.until(lambda s: s["profile"] == profile, SWITCHED_WITHIN_S, f"profile {profile}")
    period_ms: float | None = None
    while time.monotonic() - began < SWITCHED_WITHIN_S:
        looked_at_us = now_us()
        time.sleep(_LOOK_OVER_S)
        period_ms = listeners.period_ms(cluster.primary, looked_at_us)
        if beats_at(period_ms, profile):
            return time.monotonic() - began - _LOOK_OVER_S
    raise LabFailed(
        f"{profile} was applied {SWITCHED_WITHIN_S:.0f} s ago, and {cluster.primary} beats every {period_ms} ms"
    )
