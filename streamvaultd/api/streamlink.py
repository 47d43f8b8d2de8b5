# SPDX-License-Identifier: GPL-3.0-or-later
"""io.streamvault.Recorder: ManageStreamlink."""

from __future__ import annotations

from streamvaultd.api.views import View
from streamvaultd.config.live_settings import LiveSettings
from streamvaultd.errors import StreamlinkInstallRefused
from streamvaultd.recording.streamlink.current import Streamlinks
from streamvaultd.varlink.server import Call, Handler


class StreamlinkApi:
    """The handler."""

    def __init__(self, *, streamlinks: Streamlinks, settings: LiveSettings) -> None:
        self._streamlinks = streamlinks
        self._settings = settings

    def handlers(self) -> dict[str, Handler]:
        """Method name -> handler."""
        return {"ManageStreamlink": self.manage_streamlink}

    async def manage_streamlink(self, call: Call) -> View:
        verb = call.parameters["verb"]
        if verb == "status":
            await self._streamlinks.refresh()
            installation = await self._streamlinks.usable()
        else:
            if call.peer.uid != 0 and self._settings.now.streamlink_install != "group":
                raise StreamlinkInstallRefused(uid=call.peer.uid)
            hashes = not call.parameters.get("noHashes", False)
            installation = await self._streamlinks.install(call.parameters.get("version"), hashes=hashes)
        found = {
            "command": " ".join(installation.command),
            "version": str(installation.version),
            "managed": installation.managed,
        }
        return found | ({"warning": installation.warning} if installation.warning else {})
