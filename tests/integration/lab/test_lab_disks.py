"""Disks of a bench: files in the run's folder, as in memory a sync would be too quick.

In a file of its own: two labs of one process would end each other's processes.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from deploy.lab.fleet import Wiring
from deploy.lab.lab import Lab
from deploy.lab.mounts import mounts_below
from tests.integration.lab.conftest import stand_ins
from tests.integration.lab.test_lab_faults import FLEET, write_on
from tests.needs import needs_netns, needs_root

pytestmark = [pytest.mark.real, pytest.mark.slow]


def test_disks_may_lie_in_the_run_s_folder_and_go_with_it() -> None:
    needs_root()
    needs_netns()
    with Lab(replace(FLEET, disks_in_memory=False), stand_ins(), wiring=Wiring.NAMESPACES) as lab:
        folder = lab.folder
        assert len(mounts_below(folder)) == 3, "three disks, and no memory"
        lab.faults.disks.stall("shop-a")
        hanging = write_on(lab, "shop-a")
        assert write_on(lab, "shop-b").wait(10) == 0
        assert hanging.poll() is None
    assert not folder.exists()
    assert not mounts_below(folder)
