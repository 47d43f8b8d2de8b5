# SPDX-License-Identifier: GPL-3.0-or-later
"""The threat model names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "design" / "010-threat-model.md"
NAMED = re.findall(r"`(test_\w+\.py)::(test_\w+)`", PAGE.read_text(encoding="utf-8"))


def test_it_names_tests() -> None:
    assert len(NAMED) > 20


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_a_test_that_it_names_is_there(file: str, name: str) -> None:
    texts = [path.read_text(encoding="utf-8") for path in TESTS.rglob(file)]
    assert any(re.search(rf"^(async )?def {name}\(", text, re.MULTILINE) for text in texts), f"{file}::{name}"
