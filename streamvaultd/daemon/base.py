# SPDX-License-Identifier: GPL-3.0-or-later
"""What every part of the daemon is built on, and where it finds the world."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from streamvaultd.base.clock import Clock
from streamvaultd.base.lanes import Lanes
from streamvaultd.base.sd_notify import Notifier
from streamvaultd.base.tasks import Tasks
from streamvaultd.config import settings as config
from streamvaultd.config.live_settings import LiveSettings
from streamvaultd.core.names import NOTIFY_SOCKET, PROBE_SOCKET
from streamvaultd.daemon.startup import Startup
from streamvaultd.daemon.status_line import StatusLine
from streamvaultd.daemon.troubles import Troubles
from streamvaultd.recording.files.output import SegmentFiles
from streamvaultd.recording.inbox import Inbox, Recorders
from streamvaultd.reporting.hub import Hub
from streamvaultd.reporting.notices import Journal
from streamvaultd.reporting.notifier import Heard
from streamvaultd.store.queries import QueryableStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Folders and sockets; the files that the administrator and the package write are below `root`."""

    root: Path
    state: Path
    runtime: Path
    broker: Path
    probe: Path
    notify: Path

    @property
    def etc(self) -> Path:
        """The administrator's folder."""
        return self.root / "etc/streamvaultd"


def system_places() -> Places:
    """Those of the service, as systemd and the package have them."""
    return Places(
        root=config.ROOT,
        state=Path(os.environ.get("STATE_DIRECTORY", "/var/lib/streamvaultd")),
        runtime=Path(os.environ.get("RUNTIME_DIRECTORY", "/run/streamvaultd")),
        broker=Path("/run/streamvault-brokerd/io.streamvault.Broker"),
        probe=Path(PROBE_SOCKET),
        notify=Path(NOTIFY_SOCKET),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """Only the modules of daemon/ take it as a whole; a part is given what it needs of it."""

    places: Places
    settings: LiveSettings
    clock: Clock
    tasks: Tasks
    lanes: Lanes
    inbox: Inbox
    recorders: Recorders
    hub: Hub
    heard: Heard
    journal: Journal
    notifier: Notifier
    startup: Startup
    status: StatusLine
    troubles: Troubles
    store: QueryableStore
    files: SegmentFiles
