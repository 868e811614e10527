"""Plays round after round until the time is over, on fleets that are built anew now and then.

A fleet ends after FLEET_ROUNDS rounds, so that neither its disks nor its journals grow for hours, and after every
round that was wrong, once its evidence is kept. What was counted is written after each round.
"""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from deploy.lab.lab import LabFailed
from deploy.lab.witnessed import Witnessed
from deploy.lab.witnesses import Witnesses
from tests.chaos.judging import Row, judged
from tests.chaos.play import FLEET, WHOLE_WITHIN_S, Say, fleet, keep, line_of, observed
from tests.chaos.scenario import Scenario
from tests.soak.draws import Round, dice_of, rounds
from tests.soak.together import Account, together
from tests.soak.totals import Played, Totals

FLEET_ROUNDS = 20
EVIDENCE_MAX = 40
"""Folders of logs and journals. Later ones are not kept: a disk must not fill up in a night."""
FAILED_IN_A_ROW_MAX = 3
LAB_BREAKS = (LabFailed, RuntimeError, OSError)
"""What building, mending or ending a fleet may raise on a machine that is short of something."""


class Soak:
    def __init__(
        self,
        say: Say,
        totals: Totals,
        catalogue: Sequence[Scenario],
        *,
        until_s: float,
        evidence: Path,
        round_count: int | None = None,
        first: int = 1,
        disk_mib: int | None = FLEET.disk_mib,
        written: Callable[[], None] = lambda: None,
        timed: bool = True,
    ) -> None:
        """`until_s`: no round begins after it (time.monotonic). `written` is called after each round."""
        self._say, self._totals = say, totals
        self._until_s, self._evidence = until_s, evidence
        self._written, self._timed = written, timed
        self._description = replace(FLEET, disk_mib=disk_mib)
        drawn: Iterator[Round] = rounds(totals.seed, catalogue, first)
        self._rounds = itertools.islice(drawn, round_count)
        self._waiting: Round | None = next(self._rounds, None)
        self._began_s = time.monotonic()
        self._kept = 0
        self._known_lost: set[tuple[str, int]] = set()
        """Of this fleet, by the verdicts of its own rounds."""

    @property
    def _is_over(self) -> bool:
        return self._waiting is None or time.monotonic() >= self._until_s

    def play(self) -> None:
        """Raise LabFailed where fleet after fleet can't be built."""
        failed_in_a_row = 0
        while not self._is_over:
            self._say("building a fleet")
            before = self._totals.rounds
            try:
                with fleet(self._say, self._description) as (cluster, witnesses):
                    self._totals.fleets += 1
                    self._known_lost.clear()
                    self._on_one_fleet(cluster, witnesses)
                    self._last_look(witnesses)
            except LAB_BREAKS as broke:
                self._totals.remark(f"the lab broke: {type(broke).__name__}: {broke}")
                self._totals.line("the lab broke").wrong += 1
                self._say(f"the lab broke: {broke}")
                failed_in_a_row = failed_in_a_row + 1 if self._totals.rounds == before else 0
                if failed_in_a_row >= FAILED_IN_A_ROW_MAX:
                    raise LabFailed(f"{failed_in_a_row} fleets in a row broke; the last: {broke}") from broke

    def _on_one_fleet(self, cluster: Witnessed, witnesses: Witnesses) -> None:
        for count in range(FLEET_ROUNDS):
            if self._is_over:
                return
            try:
                cluster.asked_whole(WHOLE_WITHIN_S)
                witnesses.begin()
            except LabFailed as failed:
                if count == 0:
                    raise
                self._say(f"   no other round can begin here: {failed}")
                self._totals.remark(f"after round {self._totals.rounds} the next could not begin: {failed}")
                self._totals.line("the next round could not begin").wrong += 1
                return
            this = self._waiting
            assert this is not None
            self._waiting = next(self._rounds, None)
            if self._one(this, cluster, witnesses).complaints:
                return

    def _one(self, this: Round, cluster: Witnessed, witnesses: Witnesses) -> Row:
        began_s = time.monotonic()
        self._say(f"── round {this.number}: {this}")
        account = Account()
        scenario = this.parts[0].scenario
        if not this.is_alone:
            scenario = together(this, lambda part: dice_of(self._totals.seed, this.number, part), account)
        seen = observed(scenario, cluster, witnesses, dice_of(self._totals.seed, this.number, 0))
        row = judged(scenario, seen, time.monotonic() - began_s, timed=self._timed)
        row = replace(row, load_average=round(os.getloadavg()[0], 1))
        if row.complaints and self._kept < EVIDENCE_MAX:
            self._kept += 1
            again = f'make soak ARGS="--seed {self._totals.seed} --first-round {this.number} --rounds 1"'
            row = keep(row, cluster, self._evidence, this.number, "\n".join([again, *account.met]))
        played = Played(this.number, tuple(part.scenario.name for part in this.parts), row)
        if not this.is_alone:
            due_ms = account.due_ms(this.parts)
            played = replace(played, due_ms=due_ms, no_quorum_s=account.no_quorum_s, met=tuple(account.met))
            self._say(
                f"   due {due_ms:.0f} ms, of which {account.no_quorum_s * 1000:.0f} ms without a quorum"
                + "".join(f"\n{' ' * 14}met: {met[:150]}" for met in account.met)
            )
        self._say(line_of(row))
        if seen.hearing is not None:
            self._known_lost.update(seen.hearing.lost)
        self._totals.add(played)
        self._totals.took_s = round(time.monotonic() - self._began_s)
        self._written()
        return row

    def _last_look(self, witnesses: Witnesses) -> None:
        """A row may also be lost later, by another fault than the one under which it was written."""
        try:
            lost = sorted(set(witnesses.lost_in_all_rounds()) - self._known_lost)
        except LabFailed as failed:
            self._say(f"the tables could not be read back at the end of this fleet: {failed}")
            self._totals.remark(f"a fleet's tables could not be read back at its end: {failed}")
            return
        self._say(f"all rows of this fleet were read back: {len(lost)} more are missing")
        if lost:
            self._totals.lost_later += len(lost)
            self._totals.remark(f"lost after their own round, by round {self._totals.rounds}: {lost[:10]}")
        self._written()


def write_json(file: Path, totals: Totals) -> None:
    """Whole or not at all, so that a soak that is cut off has the last one."""
    new = file.with_name(f"{file.name}.new")
    new.write_text(json.dumps(totals.as_json(), indent=1) + "\n")
    new.replace(file)
