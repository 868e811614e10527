"""`python -m tests.contract.postgres [--major N] [--write]`: every script on every major that can be had here.

Prints script by major: same, different as it is written in the script, or what is wrong (then it fails).
--write keeps what was found beside the scripts and makes docs/majors.md of it; refused if anything is wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from deploy.setup.binaries import Found
from deploy.setup.majors import every_major
from tests.adapters.postgres.kit import Home, make_template, new_home
from tests.contract.postgres.experiment import Experiment, Fact
from tests.contract.postgres.on_real import real_servers
from tests.contract.postgres.record import PAGE, RECORD, OnOneMajor, Record, as_json, page, read, verdict
from tests.contract.postgres.scripts import EXPERIMENTS
from tests.needs import prepared

WITHIN_S = 90.0


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.contract.postgres",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument(
        "--major", type=int, action="append", help="only this one; may be given several times"
    )
    parser.add_argument("--write", action="store_true", help="keep the results, and write docs/majors.md")
    parser.add_argument("--page", action="store_true", help="only write docs/majors.md anew, from the record")
    told = parser.parse_args()
    if told.page:
        _write_page(read((prepared().source / RECORD).read_text()))
        return 0
    majors = {major: found for major, found in every_major().items() if not told.major or major in told.major}
    record = Record(
        datetime.datetime.now(datetime.UTC).date().isoformat(),
        {m: _run(m, found) for m, found in majors.items()},
    )
    wrong = _show(record)
    if told.write and not wrong and not told.major:
        (prepared().source / RECORD).write_text(as_json(record))
        _write_page(record)
    scripts = len(EXPERIMENTS) * len(majors)
    print(f"{scripts - wrong} passed, {wrong} failed")
    return 1 if wrong or not majors else 0


def _run(major: int, found: Found) -> OnOneMajor:
    print(f"PostgreSQL {found.version}, {_source(found)}", flush=True)
    path = new_home()
    facts: dict[str, Mapping[str, Fact]] = {}
    broken: dict[str, str] = {}
    try:
        template = asyncio.run(make_template(path, found.path))
        for number, experiment in enumerate(EXPERIMENTS):
            home = path / str(number)
            try:
                facts[experiment.name] = asyncio.run(_facts(experiment, home, found.path, template))
            except Exception as error:  # noqa: BLE001 - whatever it was is told, and the next script runs
                broken[experiment.name] = f"{type(error).__name__}: {error}"
            one = OnOneMajor(found.version, _source(found), facts, broken)
            print(f"  {verdict(experiment, major, one):<12} {experiment.sentence}", flush=True)
    finally:
        shutil.rmtree(path, ignore_errors=True)
    return OnOneMajor(found.version, _source(found), facts, broken)


async def _facts(experiment: Experiment, path: Path, programs: Path, template: Path) -> dict[str, Fact]:
    path.mkdir(mode=0o755)
    try:
        async with (
            asyncio.timeout(WITHIN_S),
            real_servers(Home(path, programs, template), experiment.members) as s,
        ):
            return await experiment.run(s)
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _write_page(record: Record) -> None:
    (prepared().source / PAGE).write_text(page(record, EXPERIMENTS))
    print(f"written: {PAGE}")


def _source(found: Found) -> str:
    """Without a path of this machine."""
    return found.how if found.how.startswith("the package index's") else "the system's"


def _show(record: Record) -> int:
    """Answers how many are wrong."""
    majors = sorted(record.majors)
    wrong = 0
    print("\n" + "".join(f"{record.majors[major].version:<12}" for major in majors) + "script")
    for experiment in EXPERIMENTS:
        verdicts = [verdict(experiment, major, record.majors[major]) for major in majors]
        wrong += sum(one not in ("same", "different") for one in verdicts)
        cells = "".join(f"{one.split(':')[0]:<12}" for one in verdicts)
        print(f"{cells}{experiment.sentence} ({', '.join(experiment.labels)})")
    for experiment in EXPERIMENTS:
        for difference in experiment.differences:
            print(f"\nfrom {difference.since} on, {experiment.sentence}: {difference.what_we_do}")
    return wrong


if __name__ == "__main__":
    sys.exit(main())
