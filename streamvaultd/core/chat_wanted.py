# SPDX-License-Identifier: GPL-3.0-or-later
"""Which recordings have a chat, and of which channel."""

from __future__ import annotations

import re
from typing import Final

from streamvaultd.core.chatting import Chat, ChatState
from streamvaultd.core.model import Moment, Phase, Recorder, Recording, State

TWITCH: Final = "twitch"
CHANNEL: Final = re.compile(r"[a-z0-9_]{1,25}", re.ASCII)
_TWITCH_URL: Final = re.compile(
    r"(?:https?://)?(?:[a-z0-9-]{1,63}\.)?twitch\.tv/"
    r"(?:\?(?:[^#\s]*&)?channel=(?P<given>[a-z0-9_]{1,25})(?:[&#]\S*)?|(?P<named>[a-z0-9_]{1,25})/?(?:[?#]\S*)?)",
    re.ASCII | re.IGNORECASE,
)
_NO_CHANNEL: Final = frozenset(
    {
        "videos", "directory", "settings", "downloads", "p", "popout", "embed", "subs", "subscriptions", "inventory",
        "wallet", "drops", "friends", "messages", "search", "jobs", "turbo", "prime", "store", "login", "signup",
        "logout", "team", "collections", "moderator", "broadcast", "dashboard", "following", "bits", "products",
        "annual", "clips", "u", "user", "privacy", "legal",
    }
)  # fmt: skip
"""Names of pages that no channel has."""

RUNNING: Final = frozenset(
    {State.STARTING, State.RECORDING, State.ROTATING, State.BACKOFF, State.GRACE, State.PAUSED, State.STOPPING}
)
"""While a recording is one of these, its chat goes on."""


def channel_of(recording: Recording) -> tuple[str, str] | None:
    """(site, channel) of the chat that belongs to a recording; None if there is none that could be captured."""
    if recording.policy.chat_channel:
        return TWITCH, recording.policy.chat_channel
    found = _TWITCH_URL.fullmatch(recording.url)
    name = "" if found is None else (found["given"] or found["named"]).lower()
    return (TWITCH, name) if name and name not in _NO_CHANNEL else None


def is_unwanted(recorder: Recorder) -> bool:
    """Whether a recording was too short to be kept, or its media were given up: its chat goes with them."""
    is_given_up = recorder.state in (State.COMPLETED, State.STOPPED) and recorder.path is None
    return recorder.state is State.DISCARDING or is_given_up or _has_lost_all(recorder)


def _has_lost_all(recorder: Recorder) -> bool:
    """Whether it failed, and its segments were removed since."""
    phases = {segment.phase for segment in recorder.segments}
    return recorder.state is State.FAILED and recorder.path is None and phases == {Phase.REMOVED}


def wants_chat(recorder: Recorder) -> bool:
    """Whether a recording that runs is to have a chat, if its channel is known."""
    return recorder.recording.policy.chat and recorder.state in RUNNING


def new_chat(recording: Recording, folder: str, at: Moment) -> Chat | None:
    """The chat of a recording that has none yet; None for a site without one."""
    found = channel_of(recording)
    if found is None:
        return None
    site, channel = found
    return Chat(recording=recording.id, site=site, channel=channel, folder=folder, state=ChatState.STARTING, since=at)
