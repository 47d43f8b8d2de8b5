# SPDX-License-Identifier: GPL-3.0-or-later
"""Which unit tests are first."""

from __future__ import annotations

import pytest

LONGEST = (
    "test_core_table.py",
    "test_core_replay.py",
    "test_core_suspicion.py",
    "test_core_coherent.py",
    "test_join.py",
)
"""A single one of these takes as long as a hundred other files: begun last, it would be waited for by all workers."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, the others as they are."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))
