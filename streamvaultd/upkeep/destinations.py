# SPDX-License-Identifier: GPL-3.0-or-later
"""Where results go by rclone: what the settings say now, and rclone's configuration, a credential of the service."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Protocol

from streamvaultd.base.networks import reachable
from streamvaultd.base.threads import in_thread
from streamvaultd.config.live_settings import LiveSettings
from streamvaultd.core.model import Policy, Recorder
from streamvaultd.jobs.after.rclone_config import CONFIG_MAX, CREDENTIAL, settings_in
from streamvaultd.jobs.after.step_runs import Destination
from streamvaultd.recording.streamlink.commands import resolv_conf


class Policies(Protocol):
    """What recordings of a streamer go by now."""

    def policy_of(self, name: str) -> Policy | None:
        """None while nobody can tell."""


class SettingsDestinations:
    """Looked up for each try; `folder` has the credentials."""

    def __init__(self, *, policies: Policies, settings: LiveSettings, folder: Path | None) -> None:
        self._policies = policies
        self._settings = settings
        self._folder = folder

    async def of(self, recorder: Recorder) -> Destination:
        """As the settings have it now; while they have mistakes, as they had it when the recording began."""
        policy = self._policies.policy_of(recorder.recording.streamer) or recorder.recording.policy
        config = await in_thread("rclone.conf", self._read)
        resolvers = await in_thread("resolv.conf", resolv_conf)
        return Destination(
            remotes=policy.upload,
            bandwidth=policy.upload_bandwidth,
            config=config,
            reachable=reachable(named_in(config or ""), self._settings.now.network_allow, resolvers)[:REACHABLE_MAX],
        )

    def _read(self) -> str | None:
        """rclone's configuration, None if the service has none; raises OSError."""
        if self._folder is None:
            return None
        try:
            text = (self._folder / CREDENTIAL).read_bytes()
        except FileNotFoundError:
            return None
        return text[:CONFIG_MAX].decode("utf-8", "replace")


REACHABLE_MAX: Final = 64
"""Networks; the broker takes no more."""


def named_in(config: str) -> tuple[str, ...]:
    """What a configuration of rclone names: any value may be a host, or a URL. Nothing of one that is none, or of one
    that is encrypted.
    """
    return tuple(dict.fromkeys(value for _, value in settings_in(config) or ()))
