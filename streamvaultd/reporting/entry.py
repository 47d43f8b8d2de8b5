# SPDX-License-Identifier: GPL-3.0-or-later
"""A notice as the journal has it, and its level (syslog(3)).

An expected end is INFO or NOTICE, a recoverable surprise WARNING, ERROR only where media may be lost, or where what an
administrator ordered is not done.
"""

from __future__ import annotations

from dataclasses import dataclass

ERROR, WARNING, NOTICE, INFO = 3, 4, 5, 6


@dataclass(frozen=True, slots=True)
class Entry:
    """`text` may name {streamer}, {recording}, {segment}, {cause} and the notice's own fields."""

    message_id: str
    priority: int
    text: str
