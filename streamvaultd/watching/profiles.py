# SPDX-License-Identifier: GPL-3.0-or-later
"""What the streamers' files say of recordings: the options and secrets to record with, and the joined file's name."""

from __future__ import annotations

from contextlib import suppress

from streamvaultd.config.credentials import Options
from streamvaultd.config.filename import as_episode, check_template
from streamvaultd.config.live_settings import LiveSettings
from streamvaultd.core.model import Recording
from streamvaultd.core.watching.streamer import Streamer
from streamvaultd.watching.asker import Sightings, proxy_options
from streamvaultd.watching.secrets import PROXY, Secrets
from streamvaultd.watching.watcher import Watches


class Profiles:
    """Looks them up anew each time: a reload may have changed them."""

    def __init__(self, *, watches: Watches, asker: Sightings, secrets: Secrets, settings: LiveSettings) -> None:
        self._watches = watches
        self._asker = asker
        self._secrets = secrets
        self._settings = settings

    def options_for(self, recording: Recording) -> Options:
        """What the streamer's file adds to streamlink's options."""
        streamer = self._streamer_of(recording)
        if streamer is None:
            return ()
        proxy = self._asker.proxy_of(streamer)
        return (*streamer.options, *proxy_options(None if proxy in self._asker.hidden_of(streamer) else proxy))

    def secrets_for(self, recording: Recording) -> Options:
        """What its credentials add, unless its site refuses them."""
        streamer = self._streamer_of(recording)
        if streamer is None:
            return ()
        proxy = self._asker.proxy_of(streamer)
        secrets = () if self._secrets.are_refused(streamer) else self._secrets.of(streamer)
        others = tuple(option for option in secrets if option[0] != PROXY)
        return (*others, *proxy_options(proxy if proxy in self._asker.hidden_of(streamer) else None))

    def template_for(self, recording: Recording) -> str:
        """How the joined file is called: as it was said when the recording began, if that is a template still."""
        with suppress(ValueError):
            return as_episode(check_template(recording.policy.filename), recording.policy.library)
        streamer = self._streamer_of(recording)
        found = (streamer.filename if streamer else "") or self._settings.now.filename
        return as_episode(found, recording.policy.library)

    def _streamer_of(self, recording: Recording) -> Streamer | None:
        """The streamer whose file a recording goes by: the one of its name, if it is of the same source."""
        streamer = self._watches.streamer(recording.streamer)
        return streamer if streamer is not None and streamer.url == recording.url else None
