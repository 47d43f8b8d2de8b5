# SPDX-License-Identifier: GPL-3.0-or-later
"""A boot of a box with some recordings in it, and what it leaves: accounts, and reports if they are not good."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from tests.integration.harness import save_reports
from tests.odd.account import Account, draw_up
from tests.odd.beside import Beside
from tests.odd.play import play
from tests.odd.report import as_json, is_good
from tests.odd.site import Site
from tests.odd.take import Take
from tests.testbed import layers, setup
from tests.testbed.box import Box

FOLDER: Final = setup.PROJECT / "build" / "odd"


def run(
    name: str,
    takes: Sequence[Take],
    deb: Path,
    *,
    clients: tuple[Beside, ...] = (),
    folder: Path = FOLDER,
    say: Callable[[str], None] = print,
) -> list[Account]:
    """All takes at a time, in one box; the accounts are in FOLDER/NAME.json, too."""
    folder.mkdir(parents=True, exist_ok=True)
    with Site() as site, Box(f"odd-{os.getpid()}", layers.installed(deb)) as box:
        try:
            accounts = [draw_up(facts) for facts in play(box, site, takes, clients=clients, say=say)]
        except BaseException:
            save_reports(box, folder / name)
            raise
        (folder / f"{name}.json").write_text(json.dumps(as_json(name, accounts), indent=1))
        if not is_good(accounts):
            save_reports(box, folder / name)
    return accounts
