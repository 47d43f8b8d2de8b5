# SPDX-License-Identifier: GPL-3.0-or-later
"""The recordings of all tests that are run are made at the same time, as many in one box as it can start."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.odd.account import Account
from tests.odd.cases import CASES
from tests.odd.draw import draw_one
from tests.odd.report import table
from tests.odd.run import FOLDER, run
from tests.odd.take import Take
from tests.testbed.deb import ensure_deb

DRAWN = re.compile(r"odd-(?P<seed>\d+)-(?P<number>\d+)", re.ASCII)

IN_ONE_BOX = 25


@pytest.fixture(scope="session")
def accounts(request: pytest.FixtureRequest) -> Mapping[str, Account]:
    """Of each recording that one of these tests has as its `take`, by name."""
    logs = os.environ.get("STREAMVAULTD_TEST_LOGS")
    found = [getattr(item, "callspec", None) for item in request.session.items]
    names = [spec.params["take"] for spec in found if spec is not None and "take" in spec.params]
    takes = [_take(name) for name in dict.fromkeys(names)]
    deb, folder = ensure_deb(), Path(logs) / "odd" if logs else FOLDER
    made: list[Account] = []
    for at in range(0, len(takes), IN_ONE_BOX):
        made += run(f"tests-{at}", takes[at : at + IN_ONE_BOX], deb, folder=folder)
    print(table(made))
    return {account.name: account for account in made}


def _take(name: str) -> Take:
    match = DRAWN.fullmatch(name)
    return draw_one(int(match["seed"]), int(match["number"])) if match else CASES[name]()
