# SPDX-License-Identifier: GPL-3.0-or-later
"""Reloads the manifest of DASH again after it could not be fetched, where streamlink would stand still for ever.

In streamlink the error ends the thread that looks for new media segments, and nothing else: its streams stay open, and
nothing comes any more. With the manifest as it was before, it asks again, and ends by itself when none came for long.
So ffmpeg writes out what it has of the end; it would be killed with a run that is stopped.

streamlink loads this file as it loads plugins, beside streamvault_guard.py, so it imports what streamlink itself has.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from streamlink.exceptions import StreamlinkError
from streamlink.stream.dash.dash import DASHStreamWorker
from streamlink.stream.dash.manifest import MPDParsingError

LIMIT = 20.0
"""Seconds without a manifest after which it is over; as for HLS with two seconds to a media segment."""

log = logging.getLogger("streamlink.plugins.streamvault_manifest")
_reload = DASHStreamWorker.reload


def reload(worker: Any) -> bool:
    """In place of DASHStreamWorker's own; one that failed is tried again as soon as one that succeeded."""
    try:
        changed = bool(_reload(worker))  # type: ignore[no-untyped-call]
    except (StreamlinkError, MPDParsingError, ValueError) as error:  # also a page of a server that is busy, with 200
        log.warning("Failed to reload playlist: %s", error)
        since = vars(worker).setdefault("_streamvault_since", time.monotonic())
        if time.monotonic() - since > LIMIT:
            log.warning("No new segments for more than %.2fs. Stopping...", LIMIT)
            worker.close()
        return True
    vars(worker).pop("_streamvault_since", None)
    return changed


DASHStreamWorker.reload = reload  # type: ignore[method-assign]
