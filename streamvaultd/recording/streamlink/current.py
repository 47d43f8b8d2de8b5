# SPDX-License-Identifier: GPL-3.0-or-later
"""The streamlink that is used now: found when the daemon starts, changed by install and reload, asked by everyone."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from streamvaultd.config.settings import Settings
from streamvaultd.core.model import Recording
from streamvaultd.core.recording.events import Outcome
from streamvaultd.errors import StreamlinkUnusable
from streamvaultd.recording.streamlink import installation as installations
from streamvaultd.recording.streamlink.command import Installation, build_command, config_text, preferring, secrets_in
from streamvaultd.scopes.launcher import clean_environment, memfd_with
from streamvaultd.watching.one_shot import Prober, ProbeResult

Options = tuple[tuple[str, str], ...]

PROBES_MAX: Final = min(max(os.cpu_count() or 1, 2), 8)
"""Sources that are asked at a time: each question is a process of its own, and many recordings may lose one source."""


class Streamlinks:
    """Captures and probes with the present installation; both wait until it is known."""

    def __init__(self, *, settings: Callable[[], Settings], state_dir: Path, home: Path) -> None:
        self._settings = settings
        self._state_dir = state_dir
        self._home = home
        self.options_for: Callable[[Recording], Options] = lambda _recording: ()
        self.secrets_for: Callable[[Recording], Options] = lambda _recording: ()
        self._known = asyncio.Event()
        self._probes = asyncio.Semaphore(PROBES_MAX)
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
            self._installation = await installations.discover(self._settings().streamlink_command, self._state_dir)
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
        options = (*self._settings().streamlink_options, *self.options_for(recording))
        quality = preferring(preferred, recording.quality)
        text = config_text(installation.version, recording.url, quality, (*options, *secrets))
        fd = memfd_with("streamlink-config", text)
        hidden = secrets_in([*options, *((f"auth-{name}", value) for name, value in secrets)])
        return build_command(installation, fd), fd, hidden

    async def probe(self, url: str, quality: str) -> ProbeResult:
        """What the source offers now; trouble is an answer. Not more than PROBES_MAX at a time: others wait."""
        try:
            async with self._probes:
                return await (await self._prober()).probe(url, quality)
        except StreamlinkUnusable as error:
            return ProbeResult(outcome=Outcome.TROUBLE, detail=str(error))

    async def can_handle(self, url: str) -> bool:
        """Whether a plugin knows this URL; raises StreamlinkUnusable."""
        return await (await self._prober()).can_handle(url)

    async def _prober(self) -> Prober:
        installation = await self.usable()
        return Prober(
            python=installation.python,
            environment=clean_environment(self._home),
            options=self._settings().streamlink_options,
        )
