# SPDX-License-Identifier: GPL-3.0-or-later
"""io.streamvault.Recorder: the methods about streamers."""

from __future__ import annotations

import asyncio

from streamvaultd.clock import Clock
from streamvaultd.core.model import Moment
from streamvaultd.core.streamer import Streamer
from streamvaultd.core.watched import Watched
from streamvaultd.errors import NoSuchStreamer, UnsupportedUrl
from streamvaultd.names import check_name, name_of
from streamvaultd.ports import Plugins
from streamvaultd.roster import Roster
from streamvaultd.varlink.server import Call, Handler
from streamvaultd.views import View, optional, redact_url, timestamp
from streamvaultd.watches import Watches


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
            "AddStreamer": self.add_streamer,
            "RemoveStreamer": self.remove_streamer,
            "EnableStreamer": self.enable_streamer,
            "DisableStreamer": self.disable_streamer,
            "ProbeStreamer": self.probe_streamer,
        }

    async def list_streamers(self, call: Call) -> View:
        found = sorted(self._watches.watched.items())
        return {"streamers": [streamer_view(watched, self._clock.now()) for _, watched in found]}

    async def add_streamer(self, call: Call) -> View:
        url = call.parameters["url"]
        name = check_name(call.parameters["name"]) if "name" in call.parameters else name_of(url)
        if not await self._plugins.can_handle(url):
            raise UnsupportedUrl(url=redact_url(url))
        await asyncio.shield(self._roster.add(name, url, call.parameters.get("quality")))
        return self._view(name)

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


def streamer_view(watched: Watched, now: Moment) -> View:
    """A Streamer."""
    return {
        "name": watched.streamer.name,
        "context": _context(watched.streamer),
        "runtime": {"state": watched.mood.value, "since": timestamp(watched.since), "failures": watched.failures}
        | optional(
            detail=watched.detail or None,
            trouble=watched.trouble.value if watched.trouble else None,
            recording=watched.recording,
            siteId=watched.site_id or None,
            title=watched.title or None,
            category=watched.category or None,
            seenAt=timestamp(watched.seen_at) if watched.seen_at else None,
            nextProbeAt=None if watched.probe_at is None else timestamp(now.at(watched.probe_at)),
        ),
    }


def _context(streamer: Streamer) -> View:
    return {
        "url": redact_url(streamer.url),
        "file": streamer.file,
        "own": streamer.is_ours,
        "enabled": streamer.enabled,
    } | optional(quality=streamer.quality or None, directory=streamer.directory or None)
