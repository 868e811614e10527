"""docs/chaos.md is made from the catalogue: `python -m tests.chaos.page --write`. A test compares."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.chaos.canary import WITHIN_MS
from tests.chaos.catalogue import CATALOGUE
from tests.chaos.judging import WRONG_FROM_MS
from tests.chaos.scenario import MULTIHOST_MORE_MS, NO_INTERRUPTION_MS, Scenario

PAGE = Path(__file__).resolve().parents[2] / "docs" / "chaos.md"
HEAD = f"""# Real faults on real hosts

Made by `python -m tests.chaos.page --write` from the tables in `tests/chaos/faults_*.py`; a test compares.

```text
make chaos                                        all of them; root is needed
make chaos ARGS="--only 'host lost'"              those of this name, or with these words in it
make chaos ARGS="--list"                          what there is
make chaos ARGS="--seed 7 --json run.json"        the same dice again; the whole run in a file
make chaos ARGS="--only 'host lost' --times 10"   one fault again and again
make chaos ARGS="--disk-mib 256"                  small disks: what a disk that fills up by itself does
```

Three control nodes, each with an etcd member, three members with a disk of their own, BIND, and a client: each a
network namespace with an address of its own. The daemons are the ones that are shipped, started by a stand-in for
the init system. A fault is one call of `deploy/lab` (`faults`, `links`, `disks`). It comes at a random phase of the
beats, on a whole cluster under load; afterwards everything is mended and the cluster must become whole again. One
fleet is used for fault after fault while it does.

**Who judges.** Two writers and a reader through DNS, two writers and a reader through a multi-host string of libpq,
and beside each member, over its own socket, a writer that should be refused wherever there is no primary and a reader.
From their journals alone come the outages, lost rows, second writers, reads that were older than the bound of
[protocol.md](protocol.md), and rows that a primary showed and that are gone. Primacy is asked for what it says
(`primacy history`, `primacy status`), which is compared with the fault, and for when the cluster is whole.

**What it is called.** The diagnosis must be said by the history or by a status, and no other: one that the fault is not
is as wrong as none. In passing a primary may be suspected, or starting, or a new one may wait for its voters. Where
nothing is wrong with the primary nothing may be said of it; what is said of the others then (a member is silent, nobody
leads, the name server does not answer) is compared too, as far as `tests/chaos` names it (`history`, `status`).

**The canary** of Primacy is on, and is no witness: what it wrote into the incident is compared with the journals of the
two clients that write through DNS. They notice only at the end of a hung connect that another address serves, so their
gaps have a least length too, up to the beginning of the last failed attempt; and on a busy machine one is let in later
than the other. Further than {WITHIN_MS} ms outside of the least and the most of them, and than the canary says that it
was blind itself, the canary is `late`, further than {WRONG_FROM_MS} ms, or where a failover under one leader has no
figure of it, `WRONG`. Where the fault is on the canary's own way nothing is compared.

**Bounds** are for the longest gap of the reference client through DNS. {NO_INTERRUPTION_MS} ms is that client's
deadline for a write: "none" means that no client had to connect anew. A multi-host string may take
{MULTIHOST_MORE_MS // 1000} s more, since libpq waits two seconds for each silent host. The bounds hold on a machine
that has little else to do, so a fault that only passed its bound is called `late` in the table and not `WRONG`, with
the load beside it (`--json`); the run fails all the same. The disks lie in memory, so these are not the figures of a
bench: those are in [performance.md](performance.md).

**What the lab can't do.** A clock can't jump while its process runs, and the wall clock can't be shifted for one
process alone: a daemon, or a host, is started with its monotonic clocks ahead or behind. Packets are lost and
delayed by a relay and a filter on the switch, not by the kernel's emulator. A frozen host's kernel still answers TCP,
as it does under a hypervisor that pauses a machine's processors only.
"""


def page() -> str:
    lines = [
        HEAD,
        f"## The {len(CATALOGUE)} faults",
        "",
        "| fault | what Primacy must do | the primary | outage | what it is called |",
    ]
    lines.append("| --- | --- | --- | ---: | --- |")
    lines += [
        f"| {one.name} | {one.must} | {one.then.value} | {_bound(one)} | {_called(one)} |"
        for one in CATALOGUE
    ]
    return "\n".join([*lines, ""])


def _called(scenario: Scenario) -> str:
    names = " or ".join(scenario.diagnosed)
    if not scenario.also_diagnosed:
        return names or "nothing"
    also = ", ".join(scenario.also_diagnosed)
    return f"{names}; perhaps {also}" if names else f"nothing, or {also}"


def _bound(scenario: Scenario) -> str:
    if scenario.is_uninterrupted:
        return "none"
    if scenario.outage_ms_max is None:
        return "while it lasts"
    return f"{scenario.outage_ms_max / 1000:g} s"


if __name__ == "__main__":
    if "--write" in sys.argv[1:]:
        PAGE.write_text(page())
    else:
        print(page(), end="")
