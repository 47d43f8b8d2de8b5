# SPDX-License-Identifier: GPL-3.0-or-later
"""What every part of the daemon is built on."""

from __future__ import annotations

from dataclasses import dataclass

from streamvaultd.base.clock import Clock
from streamvaultd.base.lanes import Lanes
from streamvaultd.base.tasks import Tasks
from streamvaultd.config.live import LiveSettings
from streamvaultd.recording.files.output import SegmentFiles
from streamvaultd.recording.inbox import Inbox, Recorders
from streamvaultd.reporting.notices import Journal
from streamvaultd.store.queries import QueryableStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """Only the modules of daemon/ take it as a whole; a part is given what it needs of it."""

    settings: LiveSettings
    clock: Clock
    tasks: Tasks
    lanes: Lanes
    inbox: Inbox
    recorders: Recorders
    journal: Journal
    store: QueryableStore
    files: SegmentFiles
