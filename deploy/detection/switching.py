"""Gives the cluster another profile the way people do: its file is changed and applied.

It counts as done when the agents beat at the new pace, as they are heard; what the leader says of it is not enough.
"""

from __future__ import annotations

import re
import time

from common.profile import PROFILES
from deploy.detection.beats import at_pace_since_us
from deploy.detection.watching import Listeners
from deploy.lab.fault import now_us
from deploy.lab.lab import LabFailed
from deploy.lab.witnessed import Witnessed

SWITCHED_WITHIN_S = 15.0
_LOOK_EVERY_S = 0.2
_PROFILE = re.compile(r'^profile = "\w+"$', re.MULTILINE)


def with_profile(text: str, profile: str) -> str:
    """The cluster's file with another profile. Raise ValueError where it names none."""
    changed, count = _PROFILE.subn(f'profile = "{profile}"', text)
    if count != 1:
        raise ValueError(f"the cluster's file names a profile {count} times")
    return changed


def switch(cluster: Witnessed, listeners: Listeners, profile: str) -> float:
    """Seconds from the command's start until the primary's beats came at the new pace. Raise LabFailed."""
    file = cluster.lab.files.cluster_file(cluster.cluster)
    file.write_text(with_profile(file.read_text(), profile))
    began_us = now_us()
    done = cluster.lab.primacy("cluster", "apply", str(file))
    if done.returncode != 0:
        raise LabFailed(f"primacy cluster apply: {done.stdout}{done.stderr}")
    cluster.watch.until(lambda s: s["profile"] == profile, SWITCHED_WITHIN_S, f"profile {profile}")
    wanted_ms = PROFILES[profile].beat_primary_every_ms
    while now_us() - began_us < SWITCHED_WITHIN_S * 1_000_000:
        since_us = at_pace_since_us(listeners.at_first_node(cluster.primary), wanted_ms)
        if since_us is not None:
            return max(0, since_us - began_us) / 1_000_000
        time.sleep(_LOOK_EVERY_S)
    raise LabFailed(
        f"{profile} was applied {SWITCHED_WITHIN_S:.0f} s ago, and {cluster.primary} does not beat every {wanted_ms} ms"
    )
