# SPDX-License-Identifier: GPL-3.0-or-later
"""streamvaultd: the settings, the store, then the service until a signal stops it."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from streamvaultd import __version__
from streamvaultd.base.private import hide_memory
from streamvaultd.base.sd_notify import stored_fds
from streamvaultd.config import settings as config
from streamvaultd.config.last_good import SETTINGS, LastGood, load_or_last
from streamvaultd.config.settings import Settings
from streamvaultd.daemon.base import Places, system_places
from streamvaultd.daemon.root import build, founded
from streamvaultd.daemon.service import Stop
from streamvaultd.daemon.watching import check_files
from streamvaultd.errors import VaultError
from streamvaultd.reporting.notices import DAEMON_FAILED, Journal
from streamvaultd.scopes.lacks import seen_from_outside


async def serve(places: Places, settings: Settings, mistakes: Sequence[VaultError]) -> None:
    """Run the daemon until a signal stops it.

    Settings with mistakes do not keep it from starting: recordings go on that nobody else would take care of. The last
    ones without apply, and the journal has the mistakes as an error.
    """
    try:
        async with founded(places, settings) as base:
            await build(base).run(stored_fds(), mistakes)
    except* Stop:
        pass


def main() -> NoReturn:
    """streamvaultd(8)."""
    parser = argparse.ArgumentParser(prog="streamvaultd", description="Records live streams.")
    parser.add_argument("--version", action="version", version=f"streamvaultd {__version__}")
    parser.add_argument("--check-config", action="store_true", help="print every mistake in the settings, and exit")
    given, places = parser.parse_args(), system_places()
    if given.check_config:
        settings, mistakes = config.load(config.files(places.root))
        mistakes = (*mistakes, *check_files(places, settings))
        sys.stderr.writelines(f"{mistake}\n" for mistake in mistakes)
        sys.stderr.writelines(
            f"note: segments cannot be confined as they should be: {why}\n" for why in seen_from_outside()
        )
        sys.exit(1 if mistakes else 0)
    os.umask(0o027)
    hide_memory()
    settings, mistakes = load_or_last(config.files(places.root), LastGood(places.state / SETTINGS))
    try:
        asyncio.run(serve(places, settings, mistakes))
    except* VaultError as group:
        for error in group.exceptions:
            if "JOURNAL_STREAM" in os.environ:  # systemd.exec(5): a unit's stderr
                Journal().tell(DAEMON_FAILED, why=error)
            else:
                sys.stderr.write(f"{error}\n")
        sys.exit(1)
    sys.exit(0)
