# SPDX-License-Identifier: GPL-3.0-or-later
"""io.streamvault.Recorder: the method about notifications."""

from __future__ import annotations

from streamvaultd.config.inputs import check_name
from streamvaultd.reporting.notifier import Telling
from streamvaultd.varlink.server import Call, Handler


class TellingApi:
    """Handlers of the interface."""

    def __init__(self, telling: Telling) -> None:
        self._telling = telling

    def handlers(self) -> dict[str, Handler]:
        """Method name -> handler."""
        return {"Notify": self.notify}

    async def notify(self, call: Call) -> dict[str, object]:
        await self._telling.test(check_name(call.parameters["target"]))
        return {}
