from __future__ import annotations

import pytest

from common.extras import require


def test_a_missing_library_names_the_extra_to_install() -> None:
    with pytest.raises(SystemExit, match=r"no_such_library is not installed here: install primacy\[cli\]"):
        require("cli", "json", "no_such_library")


def test_what_is_there_is_passed_over() -> None:
    require("cli", "json", "concurrent.futures")
