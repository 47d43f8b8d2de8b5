# SPDX-License-Identifier: GPL-3.0-or-later
"""What people may be notified of: the words of the settings. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Topic(StrEnum):
    """What can be asked for in `events` of the settings."""

    LIVE = "live"
    STARTED = "started"
    COMPLETED = "completed"
    STOPPED = "stopped"
    FAILED = "failed"
    NOT_KEPT = "not-kept"
    DEATH = "death"
    GAP = "gap"
    DISK = "disk"
    TROUBLE = "trouble"


DEFAULT: Final = (Topic.COMPLETED, Topic.FAILED, Topic.DISK)
