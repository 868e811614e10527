"""Several faults in one round, as one scenario: each in a thread, on the same cluster, through a gate.

What one of them waits for may never come because of another: that is noted and is no verdict. The verdict comes after
everything was mended: nothing lost, no second writer, no read older than the bound, whole again and acknowledging.
"""

from __future__ import annotations

import random
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from deploy.lab.fault import now_us
from deploy.lab.lab import LabFailed
from deploy.lab.witnessed import Status, Witnessed
from deploy.lab.witnesses import REFERENCE, Witnesses
from tests.chaos.scenario import Scenario, Then
from tests.chaos.scene import WITHIN_S, Scene
from tests.soak.draws import Part, Round, When
from tests.soak.gate import Gate, RoundOver

Found = TypeVar("Found")

ROUND_WITHIN_S = 240.0
ENDED_WITHIN_S = 5.0
KNOWN_WITHIN_S = 10.0
SLICE_S = 1.0
LOOKED_EVERY_S = 0.1
NEVER_JUDGED_US = 10**12
"""Added to the bound on reads where both that hold it may be hurt."""
IN_THE_WAY = (LabFailed, RoundOver, OSError, RuntimeError, subprocess.SubprocessError)
"""What a fault may meet in the middle of another one: a host that is gone, a link that is down already."""


@dataclass(slots=True)
class Account:
    """What was done in the round, for people."""

    took_s: dict[int, float] = field(default_factory=dict)
    """By part: how long its fault was in force."""
    met: list[str] = field(default_factory=list)
    """What did not come, or could not be done, because of another fault."""
    broken: list[str] = field(default_factory=list)
    """Mistakes of the lab's own."""
    no_quorum_s: float = 0.0
    """At most so long nobody could have been promoted, or no commit have found a voter."""

    def due_ms(self, parts: Sequence[Part]) -> float:
        """The bounds of all faults together, and the time without a quorum. Stated beside the outage, not judged."""
        bounds = [
            part.scenario.outage_ms_max
            if part.scenario.outage_ms_max is not None
            else self.took_s.get(number, 0.0) * 1000
            for number, part in enumerate(parts)
        ]
        return sum(bounds) + self.no_quorum_s * 1000


class SharedScene(Scene):
    """A scene beside others. What it waits for ends with the round."""

    minute_s = 6.0
    """So that there are many rounds in an hour."""

    def __init__(
        self, cluster: Witnessed, witnesses: Witnesses, dice: random.Random, *, status: Status, gate: Gate
    ) -> None:
        super().__init__(cluster, witnesses, dice, status=status)
        self._gate = gate
        self.faults = gate.around(cluster.lab.faults)

    def hold(self, seconds: float) -> None:
        self._gate.pause(seconds)

    def sit_again(self) -> None:
        with self._gate.alone():
            super().sit_again()

    def until(self, wanted: Callable[[Status], bool], what: str, within_s: float = WITHIN_S) -> Status:
        return self._in_slices(lambda slice_s: self.cluster.watch.until(wanted, slice_s, what), within_s)

    def await_writes(self, within_s: float = WITHIN_S, writer: str = REFERENCE) -> None:
        at_us = now_us()
        self._in_slices(lambda slice_s: self.witnesses.await_writes(at_us, slice_s, writer), within_s)

    def stood_still_us(self) -> int:
        """The longest time that one of its hosts was frozen, also one that another fault thawed."""
        still = [now_us() - at_us for at_us in self._frozen_at_us.values()]
        return max([self.frozen_us, *still])

    def _in_slices(self, wait: Callable[[float], Found], within_s: float) -> Found:
        ends_at_s = time.monotonic() + within_s
        while True:
            left_s = ends_at_s - time.monotonic()
            try:
                return wait(max(0.0, min(SLICE_S, left_s)))
            except LabFailed as failed:
                if left_s <= SLICE_S:
                    raise LabFailed(f"waited {within_s:.0f} s, in slices: {failed}") from failed
            self._gate.pause(0)


def together(this: Round, dice: Callable[[int], random.Random], account: Account) -> Scenario:
    """`dice` by part. `account` is filled in while it is played."""

    def happen(scene: Scene) -> None:
        _play(this, scene, dice, account)

    return Scenario(
        str(this),
        "nothing is lost, nobody writes beside the primary, and once all is mended the cluster is whole",
        Then.EITHER,
        None,
        happen,
        is_explained=False,
        hurts_the_canary=True,  # one of them may
        whole_within_s=this.whole_within_s,
    )


def _play(this: Round, scene: Scene, dice: Callable[[int], random.Random], account: Account) -> None:
    gate = Gate()
    scenes: list[SharedScene] = []
    first_ended = threading.Event()

    def run(number: int, part: Part) -> None:
        try:
            _await_turn(part, scene, gate, first_ended)
            mine = SharedScene(
                scene.cluster, scene.witnesses, dice(number), status=_known(scene.cluster, gate), gate=gate
            )
            scenes.append(mine)
            began_s = time.monotonic()
            try:
                part.scenario.happen(mine)
            finally:
                account.took_s[number] = time.monotonic() - began_s
        except IN_THE_WAY as met:
            account.met.append(f"{part.scenario.name}: {type(met).__name__} {met}")
        except Exception as mistake:  # noqa: BLE001 - in a thread nobody else would hear of it
            account.broken.append(f"{part.scenario.name}: {type(mistake).__name__} {mistake}")
        finally:
            if part.when is When.FIRST:
                first_ended.set()

    threads = [
        threading.Thread(target=run, args=(number, part), daemon=True)
        for number, part in enumerate(this.parts)
    ]
    ends_at_s = time.monotonic() + ROUND_WITHIN_S
    try:
        for thread in threads:
            thread.start()
        _watch_quorums(threads, scene, account, ends_at_s)
    finally:
        gate.close()
        for thread in threads:
            thread.join(ENDED_WITHIN_S)
    scene.cluster.lab.faults.mend_all()
    scene.frozen_us = sum(one.stood_still_us() for one in scenes)
    if not this.bounds_stale_reads:
        scene.frozen_us += NEVER_JUDGED_US
    scene.fault_at_us = min((one.fault_at_us for one in scenes if one.fault_at_us is not None), default=None)
    if any(thread.is_alive() for thread in threads):
        raise LabFailed(f"the faults did not end within {ROUND_WITHIN_S:.0f} s")
    if account.broken:
        raise LabFailed(f"the lab is wrong: {'; '.join(account.broken)}")
    if scene.fault_at_us is None:
        raise LabFailed(f"no fault could be brought about: {'; '.join(account.met)}")


def _await_turn(part: Part, scene: Scene, gate: Gate, first_ended: threading.Event) -> None:
    if part.when is When.IN_FORCE:
        ends_at_s = time.monotonic() + part.after_s
        while time.monotonic() < ends_at_s and not first_ended.is_set():
            gate.pause(0.02)
    elif part.when is When.HEALING:
        while not first_ended.is_set():
            gate.pause(0.05)
        with gate.alone():
            scene.cluster.lab.faults.mend_all()
            scene.sit_again()
        gate.pause(part.after_s)


def _known(cluster: Witnessed, gate: Gate) -> Status:
    """The newest status, and who leads as far as anybody knows: with all control nodes cut off nobody says."""
    ends_at_s = time.monotonic() + KNOWN_WITHIN_S
    while True:
        status = cluster.watch.newest
        if status is not None and status["leader"] and status["primary"]:
            return status
        if status is not None and status["primary"] and time.monotonic() > ends_at_s:
            return status | {"leader": cluster.lab.plan.control_hosts[0].name}
        if time.monotonic() > 2 * KNOWN_WITHIN_S + ends_at_s:
            raise LabFailed("no status with a primary was heard")
        gate.pause(0.05)


def _watch_quorums(
    threads: Sequence[threading.Thread], scene: Scene, account: Account, ends_at_s: float
) -> None:
    """Until all have ended: how long too few hosts were unhurt, looked at ten times a second."""
    looked_at_s = time.monotonic()
    while any(thread.is_alive() for thread in threads) and time.monotonic() < ends_at_s:
        time.sleep(LOOKED_EVERY_S)
        now_s = time.monotonic()
        if lacks_quorum(scene):
            account.no_quorum_s += now_s - looked_at_s
        looked_at_s = now_s


def lacks_quorum(scene: Scene) -> bool:
    """Fewer than two members, fewer than a majority of etcd, or no control node at all is unhurt."""
    faults = scene.cluster.lab.faults
    hurt, stopped = faults.out_of_action(), faults.stopped_daemons
    members = {scene.host(member) for member in scene.cluster.members}
    etcd = {host for host in scene.etcd_hosts if host not in hurt and f"{host}/etcd" not in stopped}
    control = {h for h in scene.control_hosts if h not in hurt and f"{h}/orchestrator" not in stopped}
    return len(members - hurt) < 2 or 2 * len(etcd) <= len(scene.etcd_hosts) or not control
