"""What a fault finds when its turn comes: a whole cluster under witnesses, who is who, and what can be waited for."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections.abc import Callable

from deploy.lab.etcd import etcd_leader_host
from deploy.lab.fault import Fault, now_us
from deploy.lab.faults import Faults
from deploy.lab.lab import Lab, LabFailed
from deploy.lab.roles import Role
from deploy.lab.witnessed import Status, Witnessed
from deploy.lab.witnesses import MULTIHOST, REFERENCE, Witnesses

WITHIN_S = 30.0
ANSWERED_WITHIN_S = 30.0


class Scene:
    """`primary`, `standbys`, `leader` and `epoch` are those of the beginning, whatever happens."""

    minute_s = 60.0
    """Of the faults that last for minutes."""

    def __init__(
        self,
        cluster: Witnessed,
        witnesses: Witnesses,
        dice: random.Random,
        *,
        status: Status | None = None,
    ) -> None:
        """`status`: what is known of the cluster; without it, the cluster must be whole."""
        status = cluster.whole() if status is None else status
        self.cluster = cluster
        self.witnesses = witnesses
        self.dice = dice
        self.lab: Lab = cluster.lab
        self.faults: Faults = cluster.lab.faults
        self.epoch = int(status["epoch"])
        self.primary = str(status["primary"])
        self.standbys = tuple(member for member in cluster.members if member != self.primary)
        self.leader = str(status["leader"])
        """The control node that leads; also its host's name."""
        self.term = int(status["term"])
        self.began_us = now_us()
        self.fault_at_us: int | None = None
        self.frozen_us = 0
        """How long a host stood still: a bound in the running time of its processes does not count that."""
        self._frozen_at_us: dict[str, int] = {}
        self.notes: list[str] = []
        self.answers: list[str] = []
        """What a person was told who asked meanwhile."""

    # Who is where

    @property
    def shop(self) -> str:
        return self.cluster.cluster

    @property
    def primary_host(self) -> str:
        return self.host(self.primary)

    def host(self, member: str) -> str:
        return self.cluster.host_of(member)

    @property
    def standby_hosts(self) -> tuple[str, ...]:
        return tuple(self.host(member) for member in self.standbys)

    @property
    def control_hosts(self) -> tuple[str, ...]:
        return tuple(host.name for host in self.lab.plan.control_hosts)

    @property
    def etcd_hosts(self) -> tuple[str, ...]:
        return tuple(host.name for host in self.lab.plan.etcd_hosts)

    def etcd_leader(self) -> str:
        return etcd_leader_host(self.lab.files, lambda host, command: self.lab.run_on(host, command).stdout)

    def site_of(self, host: str) -> str:
        return self.lab.plan.host(host).site

    # What is done

    def did(self, fault: Fault) -> Fault:
        """The first fault of the scene is the one that the outage is measured from."""
        if self.fault_at_us is not None:
            return fault
        self.fault_at_us = fault.at_us
        if fault.ends_sent:
            self.notes.append(f"{fault.ends_sent} FIN or RST left {fault.where}: it was not silent")
        return fault

    def kill(self, host: str, role: Role, *, how: signal.Signals = signal.SIGKILL, most: int = 1) -> None:
        self.did(self.faults.signal_process(host, role, how, most=most))

    def freeze(self, host: str) -> None:
        self._frozen_at_us[host] = self.did(self.faults.freeze_host(host)).at_us

    def thaw(self, host: str) -> None:
        self.faults.thaw_host(host)
        self.frozen_us = max(self.frozen_us, now_us() - self._frozen_at_us.pop(host))

    def restart(self, host: str, *, clock_shift_s: int = 0) -> None:
        self.faults.restart_host(host, clock_shift_s=clock_shift_s)
        self.sit_again()

    def sit_again(self) -> None:
        """The witnesses beside members whose hosts were started anew."""
        for member in self.cluster.members:
            self.witnesses.sit_beside(member)

    def ask(self) -> None:
        """`primacy status`, as a person would in the middle of it: also where nobody can push one any more."""
        try:
            done = self.lab.primacy("status", self.shop, within_s=ANSWERED_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.answers.append(f"asked: no answer within {ANSWERED_WITHIN_S:.0f} s")
        else:
            self.answers.append(f"asked: exit {done.returncode}\n{done.stdout}{done.stderr}".rstrip())

    # What is waited for

    def hold(self, seconds: float) -> None:
        """So long the fault lasts."""
        time.sleep(seconds)

    def until(self, wanted: Callable[[Status], bool], what: str, within_s: float = WITHIN_S) -> Status:
        return self.cluster.watch.until(wanted, within_s, what)

    def until_sql(self, member: str, text: str, answer: str, what: str, within_s: float = WITHIN_S) -> None:
        """The member's PostgreSQL answers this."""
        ends_at = time.monotonic() + within_s
        while (seen := self.cluster.sql(member, text).strip()) != answer:
            self.insist(
                time.monotonic() < ends_at, f"no {what} within {within_s:.0f} s: {seen!r} to {text!r}"
            )
            self.hold(0.2)

    def await_failover(self, within_s: float = WITHIN_S, *, after_epoch: int | None = None) -> Status:
        """A later epoch is STABLE, and the reference client was acknowledged in it."""
        epoch = self.epoch if after_epoch is None else after_epoch
        status = self.until(
            lambda s: s["epoch"] > epoch and s["phase"] == "STABLE", f"STABLE after epoch {epoch}", within_s
        )
        self.await_writes(within_s)
        return status

    def await_writes(self, within_s: float = WITHIN_S, writer: str = REFERENCE) -> None:
        self.witnesses.await_writes(now_us(), within_s, writer)

    def await_multihost_writes(self, within_s: float = WITHIN_S) -> None:
        self.await_writes(within_s, MULTIHOST)

    def await_another_leader(self, within_s: float = WITHIN_S) -> Status:
        return self.until(
            lambda s: s["leader"] not in ("", self.leader), f"led by another than {self.leader}", within_s
        )

    def insist(self, true: bool, otherwise: str) -> None:
        if not true:
            raise LabFailed(otherwise)
