# SPDX-License-Identifier: GPL-3.0-or-later
"""The streamlink that is used now: found when the daemon starts, changed by install and reload, asked by everyone."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from streamvaultd.base.networks import reachable
from streamvaultd.config.live import LiveSettings
from streamvaultd.core.model import Recording
from streamvaultd.errors import StreamlinkInstallFailed, StreamlinkUnusable
from streamvaultd.recording.streamlink import installation as installations
from streamvaultd.recording.streamlink.command import (
    MUXER,
    Installation,
    build_command,
    config_text,
    preferring,
    secrets_in,
)
from streamvaultd.recording.streamlink.install_line import Connect, ask_installer, connect
from streamvaultd.recording.streamlink.installer import Question
from streamvaultd.recording.streamlink.trust import owners
from streamvaultd.scopes.launcher import memfd_with, roots_of
from streamvaultd.scopes.ports import Rules

Options = tuple[tuple[str, str], ...]

PLACE: Final = Path("/var/lib/streamvault-streamlink")
"""The private streamlink: StateDirectory= of streamvault-install@.service, and of its user."""

RESOLV_CONF: Final = Path("/etc/resolv.conf")
PROXIES: Final = ("http-proxy", "https-proxy")
"""Streamlink's options that name a proxy."""


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
        self.options_for: Callable[[Recording], Options] = lambda _recording: ()
        self.secrets_for: Callable[[Recording], Options] = lambda _recording: ()
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
                self._settings.now.streamlink_command, self._places, owners()
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

    async def rules(self, recording: Recording) -> Rules:
        """What its segments may reach: the streamlink that is used, and the network; raises StreamlinkUnusable."""
        installation = await self.usable()
        programs = [word for word in installation.command if word.startswith("/")]
        read = (
            *roots_of([installation.command[0], *programs, installation.python]),
            *self._settings.now.streamlink_read,
        )
        return Rules(read=read, network=True, browser=recording.policy.browser)

    async def command(
        self, recording: Recording, preferred: str | None, limit: float | None
    ) -> tuple[Sequence[str], int, Sequence[str]]:
        """argv, the descriptor of its configuration, and the secrets in it; raises StreamlinkUnusable.

        `preferred` is the quality to take if it is there, before those that were asked for. It ends by itself after
        `limit` seconds of media, if that is given.
        """
        installation, secrets = await self.usable(), self.secrets_for(recording)
        options = (*self._settings.now.streamlink_options, *self.options_for(recording))
        quality = preferring(preferred, recording.quality)
        options, version = (*options, *secrets), installation.version
        text = config_text(version, recording.url, quality, options, muxer=_muxer(), limit=limit)
        fd = memfd_with("streamlink-config", text)
        hidden = secrets_in([*options, *((f"auth-{name}", value) for name, value in secrets)])
        return build_command(installation, fd), fd, hidden

    def reachable(self, recording: Recording) -> tuple[str, ...]:
        """The networks that its URL, its proxies, the settings and the host's resolver name; others stay closed."""
        settings = self._settings.now
        options = (*settings.streamlink_options, *self.options_for(recording), *self.secrets_for(recording))
        proxies = [value for name, value in options if name in PROXIES]
        try:
            resolv_conf = RESOLV_CONF.read_text(encoding="utf-8", errors="replace")
        except OSError:
            resolv_conf = "nameserver 127.0.0.1\nnameserver ::1"  # what resolv.conf(5) says of a file that is missing
        return reachable([recording.url, *proxies], settings.network_allow, resolv_conf)


def _muxer() -> str | None:
    return str(MUXER) if os.access(MUXER, os.X_OK) else None
