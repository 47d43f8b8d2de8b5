# SPDX-License-Identifier: GPL-3.0-or-later
"""Notifications as settings have them: who is notified, and of what."""

from __future__ import annotations

from typing import Any, Final

from streamvaultd.config.inputs import is_name
from streamvaultd.config.kinds import SettingKind, Unfit, listed, texts
from streamvaultd.core.topic import Topic

TARGETS_MAX: Final = 20


def targets(value: Any) -> tuple[str, ...]:
    """Names of credentials with URLs of apprise; none is an answer, too."""
    found = texts(value)
    if found is None or len(found) > TARGETS_MAX:
        raise Unfit(f"it must be a list of names, {TARGETS_MAX} at most")
    if any("://" in name for name in found):
        raise Unfit(
            "it must not hold a URL, which is a secret: others may read this file. Put it into a credential "
            "'streamvault-notify.NAME', and the NAME here"
        )
    if not all(is_name(name) for name in found):
        raise Unfit("it must be a list of names of credentials, without 'streamvault-notify.'")
    return tuple(dict.fromkeys(found))


def topics(value: Any) -> tuple[Topic, ...]:
    """What somebody wants to hear of."""
    found = texts(value)
    if found is None or not set(found) <= set(Topic):
        raise Unfit(f"it must be a list of {', '.join(Topic)}")
    return tuple(topic for topic in Topic if topic in found)


TARGETS: Final = SettingKind(targets, f"list of at most {TARGETS_MAX} names", listed)
TOPICS: Final = SettingKind(topics, "list of events", listed)
