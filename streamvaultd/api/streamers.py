# SPDX-License-Identifier: GPL-3.0-or-later
"""io.streamvault.Recorder: the methods about streamers."""

from __future__ import annotations

import asyncio
from typing import Protocol

from streamvaultd.api.views import View, optional, page_limit, streamer_view
from streamvaultd.base.clock import Clock
from streamvaultd.base.redaction import redact_url
from streamvaultd.config.inputs import check_quality, check_url, name_for
from streamvaultd.errors import NoSuchStreamer, UnsupportedUrl
from streamvaultd.varlink.server import Call, Handler
from streamvaultd.watching.roster import Roster
from streamvaultd.watching.watcher import Watches


class Plugins(Protocol):
    """What streamlink knows, and what is wrong with it."""

    @property
    def trouble(self) -> str | None: ...

    async def can_handle(self, url: str) -> bool:
        """Whether it knows this URL; raises StreamlinkUnusable."""


class StreamersApi:
    """Handlers of the interface. A change that was begun is finished, whether or not somebody waits for it."""

    def __init__(self, *, roster: Roster, watches: Watches, plugins: Plugins, clock: Clock) -> None:
        self._roster = roster
        self._watches = watches
        self._plugins = plugins
        self._clock = clock

    def handlers(self) -> dict[str, Handler]:
        """Method name -> handler."""
        return {
            "ListStreamers": self.list_streamers,
            "GetStreamer": self.get_streamer,
            "AddStreamer": self.add_streamer,
            "RemoveStreamer": self.remove_streamer,
            "EnableStreamer": self.enable_streamer,
            "DisableStreamer": self.disable_streamer,
            "ProbeStreamer": self.probe_streamer,
        }

    async def list_streamers(self, call: Call) -> View:
        after, state = call.parameters.get("after", ""), call.parameters.get("state")
        found = [
            watched for name, watched in sorted(self._watches.watched.items())
            if name > after and state in (None, watched.mood.value)
        ]  # fmt: skip
        shown = found[: page_limit(call.parameters)]
        further = shown[-1].streamer.name if len(shown) < len(found) else None
        return {"streamers": [streamer_view(each, self._clock.now()) for each in shown]} | optional(next=further)

    async def get_streamer(self, call: Call) -> View:
        return self._view(call.parameters["streamer"])

    async def add_streamer(self, call: Call) -> View:
        url, quality = check_url(call.parameters["url"]), call.parameters.get("quality")
        if quality is not None:
            check_quality(quality)
        name = name_for(url, call.parameters.get("name"))
        if not await self._plugins.can_handle(url):
            raise UnsupportedUrl(url=redact_url(url))
        same = [each.streamer.name for each in self._watches.watched.values() if each.streamer.url == url]
        await asyncio.shield(self._roster.add(name, url, quality))
        told = [f"'{other}' is watched at this URL already, and both will be recorded" for other in same]
        return self._view(name) | optional(warning="; ".join(filter(None, (*told, self._plugins.trouble))) or None)

    async def remove_streamer(self, call: Call) -> View:
        await asyncio.shield(self._roster.remove(call.parameters["streamer"]))
        return {}

    async def enable_streamer(self, call: Call) -> View:
        return await self._enable(call, enabled=True)

    async def disable_streamer(self, call: Call) -> View:
        return await self._enable(call, enabled=False)

    async def _enable(self, call: Call, *, enabled: bool) -> View:
        await asyncio.shield(self._roster.enable(call.parameters["streamer"], enabled=enabled))
        return self._view(call.parameters["streamer"])

    async def probe_streamer(self, call: Call) -> View:
        await self._watches.probe(call.parameters["streamer"])
        return self._view(call.parameters["streamer"])

    def _view(self, name: str) -> View:
        found = self._watches.watched.get(name)
        if found is None:
            raise NoSuchStreamer(streamer=name)
        return {"streamer": streamer_view(found, self._clock.now())}
