# SPDX-License-Identifier: GPL-3.0-or-later
"""The streamlink that is used now: found when the daemon starts, changed by install and reload, asked by everyone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from streamvaultd.config.live import LiveSettings
from streamvaultd.core.model import Recording
from streamvaultd.errors import StreamlinkUnusable
from streamvaultd.recording.streamlink import installation as installations
from streamvaultd.recording.streamlink.command import Installation, build_command, config_text, preferring, secrets_in
from streamvaultd.scopes.launcher import memfd_with

Options = tuple[tuple[str, str], ...]


class Streamlinks:
    """The present installation; who needs it waits until it is known."""

    def __init__(self, *, settings: LiveSettings, state_dir: Path) -> None:
        self._settings = settings
        self._state_dir = state_dir
        self.options_for: Callable[[Recording], Options] = lambda _recording: ()
        self.secrets_for: Callable[[Recording], Options] = lambda _recording: ()
        self._known = asyncio.Event()
        self._installation: Installation | None = None
        self._trouble: StreamlinkUnusable | None = None

    @property
    def trouble(self) -> str | None:
        """What is wrong with the present one: an error, or the warning of an old version; None if all is well."""
        if self._trouble is not None:
            return str(self._trouble)
        return self._installation.warning if self._installation else None

    async def refresh(self) -> None:
        """Find the installation to use."""
        try:
            self._installation = await installations.discover(self._settings.now.streamlink_command, self._state_dir)
            self._trouble = None
        except StreamlinkUnusable as error:
            self._installation, self._trouble = None, error
        self._known.set()

    async def install(self, version: str | None) -> Installation:
        """Install a version into the state directory and use it from now on; raises StreamlinkInstallFailed."""
        self._installation = await installations.install(self._state_dir, version)
        self._trouble = None
        return self._installation

    async def settled(self) -> Installation | None:
        """The present installation once it was looked for, None if it cannot be used."""
        await self._known.wait()
        return self._installation

    async def usable(self) -> Installation:
        """The present installation; raises StreamlinkUnusable."""
        if await self.settled() is None:
            # it may have been installed since it was looked for
            await self.refresh()
        if self._installation is None:
            raise self._trouble or StreamlinkUnusable(command="streamlink", why="it was not looked for")
        return self._installation

    async def command(self, recording: Recording, preferred: str | None) -> tuple[Sequence[str], int, Sequence[str]]:
        """argv, the descriptor of its configuration, and the secrets in it; raises StreamlinkUnusable.

        `preferred` is the quality to take if it is there, before those that were asked for.
        """
        installation, secrets = await self.usable(), self.secrets_for(recording)
        options = (*self._settings.now.streamlink_options, *self.options_for(recording))
        quality = preferring(preferred, recording.quality)
        text = config_text(installation.version, recording.url, quality, (*options, *secrets))
        fd = memfd_with("streamlink-config", text)
        hidden = secrets_in([*options, *((f"auth-{name}", value) for name, value in secrets)])
        return build_command(installation, fd), fd, hidden
