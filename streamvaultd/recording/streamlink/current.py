# SPDX-License-Identifier: GPL-3.0-or-later
"""The streamlink that is used now: found when the daemon starts, changed by install and reload, asked by everyone."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from streamvaultd.config.live_settings import LiveSettings
from streamvaultd.errors import StreamlinkInstallFailed, StreamlinkUnusable
from streamvaultd.recording.streamlink import installation as installations
from streamvaultd.recording.streamlink.command import Installation
from streamvaultd.recording.streamlink.install_line import Connect, ask_installer, connect
from streamvaultd.recording.streamlink.installer import Question
from streamvaultd.recording.streamlink.trust import owners

PLACE: Final = Path("/var/lib/streamvault-streamlink")
"""The private streamlink: StateDirectory= of streamvault-install@.service, and of its user."""


class Streamlinks:
    """The present installation; who needs it waits until it is known.

    `state_dir` may have one of an earlier version; the package has given it to root.
    """

    def __init__(
        self, *, settings: LiveSettings, state_dir: Path, place: Path = PLACE, installer: Connect = connect
    ) -> None:
        self._settings = settings
        self._place = place
        self._places = (place, state_dir / "streamlink")
        self._installer = installer
        self._known = asyncio.Event()
        self._installation: Installation | None = None
        self._trouble: StreamlinkUnusable | None = None

    @property
    def trouble(self) -> str | None:
        """What is wrong with the present one, and what to type; None if all is well."""
        if self._trouble is not None:
            return f"{self._trouble}: {self._trouble.advice}"
        return self._installation.warning if self._installation else None

    async def refresh(self) -> None:
        """Find the installation to use."""
        try:
            self._installation = await installations.discover(
                self._settings.now.streamlink_command, self._places, owners(), self._settings.now.streamlink_read
            )
            self._trouble = None
        except StreamlinkUnusable as error:
            self._installation, self._trouble = None, error
        self._known.set()

    async def install(self, version: str | None, *, hashes: bool) -> Installation:
        """Have a version installed, or what is known by its checksums, and use it from now on.

        Raises StreamlinkInstallFailed, and StreamlinkUnusable for what may not be run.
        """
        in_use = await asyncio.to_thread(installations.in_use, self._place)
        question = Question(version=version, hashes=hashes, keep=tuple(in_use))
        why = await ask_installer(self._installer, question)
        if why:
            raise StreamlinkInstallFailed(version=version or "", why=why)
        await self.refresh()
        return await self.usable()

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

    async def python(self) -> str:
        """The interpreter that it runs with; raises StreamlinkUnusable."""
        return (await self.usable()).python
