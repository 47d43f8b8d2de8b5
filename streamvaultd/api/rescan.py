# SPDX-License-Identifier: GPL-3.0-or-later
"""io.streamvault.Recorder: Rescan."""

from __future__ import annotations

import asyncio
from typing import Final

from streamvaultd.api.views import View, optional
from streamvaultd.config.inputs import check_directory
from streamvaultd.upkeep.manifests.rescan import RecordingOnDisk, Rescan, RescanVerdict
from streamvaultd.varlink.server import Call, Handler

SHOWN_MAX: Final = 10_000
"""Recordings in one answer: a message has a limit. Those that the store has had before give way first."""


class RescanApi:
    """The handler of the method; `handlers()` is what the server is given."""

    def __init__(self, rescan: Rescan) -> None:
        self._rescan = rescan

    def handlers(self) -> dict[str, Handler]:
        """Method name -> handler."""
        return {"Rescan": self.rescan}

    async def rescan(self, call: Call) -> View:
        directory = call.parameters.get("directory")
        if directory is not None:
            check_directory(directory)
        # a client that hangs up does not stop it halfway
        running = self._rescan.run(directory, dry_run=call.parameters.get("dryRun", False))
        found = await asyncio.shield(running)
        found.sort(key=lambda one: one.verdict is RescanVerdict.KNOWN)
        return {"found": [_view(one) for one in found[:SHOWN_MAX]]}


def _view(found: RecordingOnDisk) -> View:
    return {"path": found.path, "verdict": found.verdict.value, "text": found.text} | optional(
        recording=found.recording
    )
