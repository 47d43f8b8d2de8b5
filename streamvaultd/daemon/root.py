# SPDX-License-Identifier: GPL-3.0-or-later
"""The composition root: builds everything, each part from those above it. Nothing is given to a part afterwards but
listeners, and those are here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from streamvaultd.base.clock import SystemClock
from streamvaultd.base.lanes import Lanes
from streamvaultd.base.sd_notify import Notifier
from streamvaultd.config.live_settings import LiveSettings
from streamvaultd.config.settings import Settings
from streamvaultd.daemon.base import Base, Places
from streamvaultd.daemon.outside import build_outside
from streamvaultd.daemon.recording import build_recording, build_storage
from streamvaultd.daemon.reload import Reloads
from streamvaultd.daemon.reporting import Ledger, open_store
from streamvaultd.daemon.service import Parts, Service
from streamvaultd.daemon.sockets import build_sockets
from streamvaultd.daemon.startup import Startup
from streamvaultd.daemon.status_line import StatusLine
from streamvaultd.daemon.troubles import Troubles
from streamvaultd.daemon.upkeep import build_upkeep
from streamvaultd.daemon.watching import build_watching
from streamvaultd.recording.admission import Beginner
from streamvaultd.recording.files.output import SegmentFiles
from streamvaultd.recording.headroom import Headroom
from streamvaultd.recording.inbox import Inbox, Recorders
from streamvaultd.recording.streamlink.current import Streamlinks
from streamvaultd.reporting.hub import Hub, Publisher
from streamvaultd.reporting.notices import Journal
from streamvaultd.reporting.notifier import Heard
from streamvaultd.scopes.lacks import Lacks
from streamvaultd.scopes.witnesses.cgroups import Memory
from streamvaultd.scopes.witnesses.network import LinkWatch
from streamvaultd.upkeep.retention import Reprieve


@asynccontextmanager
async def founded(places: Places, settings: Settings) -> AsyncIterator[Base]:
    """What everything is built on; tasks and the store end with the block.

    Waits for the store; raises StoreUnavailable and StoreTooNew.
    """
    clock, notifier, hub, live, files = SystemClock(), Notifier(), Hub(), LiveSettings(settings), SegmentFiles()
    heard, inbox = Heard(clock), Inbox()
    journal, recorders = Journal(heard), Recorders(inbox, clock)
    startup, troubles = Startup(notifier, journal), Troubles(journal)
    store = await open_store(settings, files, hub, startup)
    try:
        await store.feed_catalogue(wanted=bool(settings.catalogue))
        async with asyncio.TaskGroup() as tasks:
            yield Base(
                places=places, settings=live, clock=clock, tasks=tasks, inbox=inbox, recorders=recorders, hub=hub,
                heard=heard, journal=journal, notifier=notifier, startup=startup, troubles=troubles, store=store,
                files=files, lanes=Lanes(on_overdue=troubles.on_disk_hanging),
                status=StatusLine(notifier=notifier, recorders=recorders, settings=live),
            )  # fmt: skip
    finally:
        await store.close()


def build(base: Base) -> Service:
    """One page, top to bottom."""
    recorders, publisher = base.recorders, Publisher(base.hub, recorders=base.recorders, clock=base.clock)
    streamlinks = Streamlinks(settings=base.settings, state_dir=base.places.state)
    storage = build_storage(base)
    headroom = Headroom(disk=storage.guard, memory=Memory())
    beginner = Beginner(inbox=base.inbox, recorders=recorders, store=base.store, headroom=headroom, clock=base.clock)
    reprieve = Reprieve(base.clock)
    watching = build_watching(base, streamlinks=streamlinks, beginner=beginner, reprieve=reprieve)
    unconfined = Lacks()
    network = LinkWatch(on_trouble=base.troubles.on_network_missing)
    recording = build_recording(
        base, storage=storage, headroom=headroom, streamlinks=streamlinks, watching=watching, network=network,
        publisher=publisher, scratch=unconfined.scratch,
    )  # fmt: skip
    outside = build_outside(base, witnesses=recording.witnesses, network=network)
    upkeep = build_upkeep(base, recording=recording, bus=outside.bus, limits=watching.roster, reprieve=reprieve)
    ledger = Ledger(
        base, disks=storage.guard, catalogue=outside.catalogue, streamlinks=streamlinks, watches=watching.watches
    )
    reloads = Reloads(base, watching=watching, streamlinks=streamlinks, reprieve=reprieve)
    sockets = build_sockets(
        base, recording=recording, watching=watching, upkeep=upkeep, reloads=reloads, beginner=beginner,
        rescan=ledger.build_rescan(recording.manager), streamlinks=streamlinks, catalogue=outside.catalogue,
        unconfined=unconfined,
    )  # fmt: skip
    network.listeners.extend((watching.watches.on_network_back, recorders.on_network_back))
    watching.roster.listeners.append(base.status.on_streamers)
    upkeep.steps.listeners.extend((ledger.on_step, upkeep.retention.on_step, upkeep.hooks.on_step))
    recorders.listeners.extend(
        (
            ledger.on_change,
            upkeep.retention.on_change,
            upkeep.steps.on_recorder,
            upkeep.hooks.on_recorder,
            publisher.on_recorder,
            watching.watches.on_recorder,
            base.status.on_recorder,
            recording.chats.on_recorder,
        )
    )
    parts = Parts(
        storage=storage, recording=recording, watching=watching, outside=outside, upkeep=upkeep, ledger=ledger,
        reloads=reloads, sockets=sockets,
    )  # fmt: skip
    return Service(base, parts, unconfined=unconfined.always)
