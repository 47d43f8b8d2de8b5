# SPDX-License-Identifier: GPL-3.0-or-later
"""How streamlink is run for a recording: its command line, what it may read, and which networks it may reach."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

from streamvaultd.base.memory_file import memfd_with
from streamvaultd.base.networks import reachable
from streamvaultd.base.threads import in_thread
from streamvaultd.config.credentials import Options
from streamvaultd.config.live_settings import LiveSettings
from streamvaultd.core.model import Recording
from streamvaultd.recording.streamlink.command import (
    MUXER,
    build_command,
    config_text,
    preferring,
    secrets_in,
)
from streamvaultd.recording.streamlink.current import Streamlinks
from streamvaultd.recording.streamlink.installation import roots_for
from streamvaultd.scopes.ports import Access

RESOLV_CONF: Final = Path("/etc/resolv.conf")
NO_RESOLV_CONF: Final = "nameserver 127.0.0.1\nnameserver ::1"
"""What resolv.conf(5) says of a file that is missing."""

PROXIES: Final = ("http-proxy", "https-proxy")
"""Streamlink's options that name a proxy."""


class Profiles(Protocol):
    """What the files of streamers add to streamlink's options."""

    def options_for(self, recording: Recording) -> Options: ...
    def secrets_for(self, recording: Recording) -> Options: ...


class Commands:
    """Builds them anew for each segment: another streamlink may have been installed, the settings may be others."""

    def __init__(self, *, streamlinks: Streamlinks, settings: LiveSettings, profiles: Profiles) -> None:
        self._streamlinks = streamlinks
        self._settings = settings
        self._profiles = profiles

    async def rules(self, recording: Recording) -> Access:
        """What its segments may reach: the streamlink that is used, and the network; raises StreamlinkUnusable."""
        installation = await self._streamlinks.usable()
        own = await in_thread("roots", lambda: roots_for(installation.command, installation.python))
        return Access(read=(*own, *self._settings.now.streamlink_read), network=True, browser=recording.policy.browser)

    async def command(
        self, recording: Recording, preferred: str | None, limit: float | None
    ) -> tuple[Sequence[str], int, Sequence[str]]:
        """argv, the descriptor of its configuration, and the secrets in it; raises StreamlinkUnusable.

        `preferred` is the quality to take if it is there, before those that were asked for. It ends by itself after
        `limit` seconds of media, if that is given.
        """
        installation, secrets = await self._streamlinks.usable(), self._profiles.secrets_for(recording)
        muxer = await in_thread("muxer", _muxer)
        options = (*self._settings.now.streamlink_options, *self._profiles.options_for(recording), *secrets)
        quality = preferring(preferred, recording.quality)
        text = config_text(installation.version, recording.url, quality, options, muxer=muxer, limit=limit)
        fd = memfd_with("streamlink-config", text)
        hidden = secrets_in([*options, *((f"auth-{name}", value) for name, value in secrets)])
        return build_command(installation, fd), fd, hidden

    async def reachable(self, recording: Recording) -> tuple[str, ...]:
        """The networks that its URL, its proxies, the settings and the host's resolver name; others stay closed."""
        settings, profiles = self._settings.now, self._profiles
        options = (*settings.streamlink_options, *profiles.options_for(recording), *profiles.secrets_for(recording))
        proxies = [value for name, value in options if name in PROXIES]
        text = await in_thread("resolv.conf", resolv_conf)
        return reachable([recording.url, *proxies], settings.network_allow, text)


def _muxer() -> str | None:
    """None where there is no ffmpeg: streamlink finds that out, and records one stream."""
    return str(MUXER) if os.access(MUXER, os.X_OK) and shutil.which("ffmpeg") else None


def resolv_conf() -> str:
    """Of the host, as it is now."""
    try:
        return RESOLV_CONF.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return NO_RESOLV_CONF
