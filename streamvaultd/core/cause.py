# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a segment ended: the words that are stored, shown and counted."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Cause(StrEnum):
    """The kinds of cause; of SIGNAL and EXIT the number is stored with the kind: `signal:9`, `exit:1`."""

    ROTATED = "rotated"
    STOPPED = "stopped"
    SOURCE_ENDED = "source-ended"
    SOURCE_REFUSED = "source-refused"
    LAUNCH_FAILED = "launch-failed"
    OOM = "oom"
    OOMD = "oomd"
    SIGNAL = "signal"
    EXIT = "exit"
    STALL = "stall"
    START_TIMEOUT = "start-timeout"
    TIMEOUT = "timeout"
    NETWORK = "network"
    DISK_FULL = "disk-full"
    HOST_SHUTDOWN = "host-shutdown"
    UNKILLABLE = "unkillable"
    UNKNOWN = "unknown"

    def numbered(self, number: int) -> str:
        """The cause that is stored of one signal or one exit status."""
        return f"{self}:{number}"


PLANNED: Final = frozenset({
    Cause.ROTATED, Cause.STOPPED, Cause.SOURCE_ENDED, Cause.SOURCE_REFUSED, Cause.LAUNCH_FAILED,
})  # fmt: skip
"""Nobody died: it was asked to end, the source announced the end, or nothing ever ran."""

DEATHS: Final = tuple(cause for cause in Cause if cause not in PLANNED)


def is_death(cause: str) -> bool:
    """Whether a cause is a death: an end that nobody asked for and that the source did not announce."""
    return cause not in PLANNED


def kind_of(cause: str) -> str:
    """A cause without its number."""
    return cause.partition(":")[0]
