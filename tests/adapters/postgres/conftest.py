"""A folder for each test, and one template data directory for all: initialised, with its roles, stopped."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.adapters.postgres.kit import Home, make_template, new_home, postgresql_programs
from tests.needs import not_run


@pytest.fixture(scope="session")
def template() -> Iterator[tuple[Path, Path]]:
    """(programs, data directory)."""
    programs = postgresql_programs()
    if programs is None:
        not_run("PostgreSQL 15 to 18", get_it_by="apt-get install postgresql, or setting PRIMACY_PGBIN")
    path = new_home()
    try:
        yield programs, asyncio.run(make_template(path, programs))
    finally:
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def home(template: tuple[Path, Path]) -> Iterator[Home]:
    programs, data = template
    path = new_home()
    try:
        yield Home(path, programs, data)
    finally:
        shutil.rmtree(path, ignore_errors=True)
