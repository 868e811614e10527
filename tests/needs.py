"""What a test needs of the machine, and what to do about it where that is missing.

Call one of these first thing in a test or a fixture. Where the need is not met the test is not run
and named at the end of `make test` (`NOT RUN: <what> needs X, get it by Y`); with CI=true that is
a failure, because there everything must run. The functions return what was found.
"""

from __future__ import annotations

import functools
import os
import subprocess
from typing import NoReturn

import pytest

from deploy.setup.binaries import Found
from deploy.setup.prepared import Prepared

# A skip whose reason has these words counts as NOT RUN (tests/conftest.py), whoever wrote it.
GET_IT_BY = "get it by"


@functools.cache
def prepared() -> Prepared:
    """Interpreter, readable code, account and binaries, once per session."""
    return Prepared.here()


def not_run(need: str, *, get_it_by: str) -> NoReturn:
    """End the running test, and name it at the end."""
    pytest.skip(f"needs {need}, {GET_IT_BY} {get_it_by}")


def needs_root(why: str = "root") -> None:
    if os.geteuid() != 0:
        not_run(why, get_it_by="running make test as root")


def needs_postgresql() -> Found:
    return _binary(prepared().binaries.postgresql, "PostgreSQL 15 to 18", "apt-get install postgresql")


def needs_etcd() -> Found:
    return _binary(prepared().binaries.etcd, "etcd", "apt-get install etcd-server")


def needs_bind() -> Found:
    return _binary(prepared().binaries.named, "BIND's named", "apt-get install bind9")


def needs_nft() -> Found:
    needs_root()
    return _binary(prepared().binaries.nft, "nft", "apt-get install nftables")


def needs_netns() -> Found:
    """Network namespaces that we can make: root, `ip`, and a kernel (or container) that lets us."""
    needs_root("root for network namespaces")
    ip = _binary(prepared().binaries.ip, "ip", "apt-get install iproute2")
    if not _namespaces_can_be_made():
        not_run("network namespaces", get_it_by="running where unshare -n is allowed (CAP_SYS_ADMIN)")
    return ip


@functools.cache
def _namespaces_can_be_made() -> bool:
    try:
        return subprocess.run(["unshare", "-n", "true"], capture_output=True, timeout=10).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False


def _binary(found: Found | None, need: str, get_it_by: str) -> Found:
    if found is None:
        not_run(need, get_it_by=f"{get_it_by} (as root; make test run as root does it)")
    return found
