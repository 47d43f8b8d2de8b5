# SPDX-License-Identifier: GPL-3.0-or-later
"""The sockets: each group of methods is given what it needs."""

from __future__ import annotations

from streamvaultd.api.admin import VERIFIER, AdminApi
from streamvaultd.api.audit import AuditApi
from streamvaultd.api.lists import LookApi
from streamvaultd.api.notify import TellingApi
from streamvaultd.api.present import Presenter, Segments
from streamvaultd.api.prune import PruneApi
from streamvaultd.api.record import RecordApi
from streamvaultd.api.recordings import RecordingsApi
from streamvaultd.api.rescan import RescanApi
from streamvaultd.api.results import ResultApi
from streamvaultd.api.sockets import Sockets, all_handlers
from streamvaultd.api.status import StatusApi, Unconfined
from streamvaultd.api.streamers import StreamersApi
from streamvaultd.api.streamlink import StreamlinkApi
from streamvaultd.api.subscribe import SubscribeApi
from streamvaultd.daemon.base import Base
from streamvaultd.daemon.recording import RecordingParts
from streamvaultd.daemon.reload import Reloads
from streamvaultd.daemon.upkeep import Upkeep
from streamvaultd.daemon.watching import Watching
from streamvaultd.recording.admission import Beginner
from streamvaultd.recording.glance import Glance
from streamvaultd.recording.streamlink.current import Streamlinks
from streamvaultd.reporting.defects import Defects
from streamvaultd.scopes.witnesses.cgroups import Memory
from streamvaultd.store.catalogue import Catalogue
from streamvaultd.upkeep.manifests.rescan import Rescan


def build_sockets(
    base: Base,
    *,
    recording: RecordingParts,
    watching: Watching,
    upkeep: Upkeep,
    reloads: Reloads,
    rescan: Rescan,
    beginner: Beginner,
    streamlinks: Streamlinks,
    catalogue: Catalogue | None,
    unconfined: Unconfined,
) -> Sockets:
    """All methods, in the order of the interface's documentation."""
    clock, settings, recorders, store, hub = base.clock, base.settings, base.recorders, base.store, base.hub
    sizes = Glance(files=base.files, lanes=base.lanes, clock=clock)
    presenter = Presenter(clock=clock, sizes=sizes, joins=recording.progress, chats=recording.chats)
    segments = Segments(files=base.files, processes=recording.processes, memory=Memory())
    watches, roster, plugins, telling = watching.watches, watching.roster, watching.plugins, watching.telling
    handlers = all_handlers(
        RecordApi(
            recorders=recorders, beginner=beginner, plugins=plugins, hub=hub, presenter=presenter, settings=settings
        ),
        RecordingsApi(
            manager=recording.manager, store=store, clock=clock, presenter=presenter, segments=segments
        ),
        LookApi(store=store, clock=clock, presenter=presenter, recorders=recorders),
        ResultApi(store, upkeep.step_progress),
        SubscribeApi(
            store=store, hub=hub, clock=clock, presenter=presenter, recorders=recorders, watches=watches,
            segments=segments,
        ),
        StreamersApi(roster=roster, watches=watches, plugins=plugins, clock=clock),
        TellingApi(telling),
        AuditApi(upkeep.audits),
        PruneApi(
            store=store, pruning=upkeep.pruning, retention=upkeep.retention, reprieve=upkeep.reprieve,
            presenter=presenter, clock=clock,
        ),
        RescanApi(rescan),
        AdminApi(store=store, settings=settings, reloads=reloads, verifier=VERIFIER),
        StreamlinkApi(streamlinks=streamlinks, settings=settings),
        StatusApi(
            recorders=recorders, streamlinks=streamlinks, catalogue=catalogue, targets=telling, settings=settings,
            unconfined=unconfined, clock=clock,
        ),
    )  # fmt: skip
    return Sockets(handlers, tasks=base.tasks, on_defect=Defects(base.journal).heard)
