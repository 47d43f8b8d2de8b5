# SPDX-License-Identifier: GPL-3.0-or-later
"""The outside: what systemd, the kernel and the journal say of segments, and the catalogue that is fed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from streamvaultd.base.threads import in_thread
from streamvaultd.core.evidence import Evidence
from streamvaultd.core.names import Run
from streamvaultd.daemon.base import Base
from streamvaultd.daemon.startup import WITNESS_LIMIT
from streamvaultd.recording.witnesses import Witnesses
from streamvaultd.reporting.notices import JOURNAL_GAP
from streamvaultd.scopes.loaded import loaded_scopes
from streamvaultd.scopes.witnesses.bus import LiveScope, UnitBus
from streamvaultd.scopes.witnesses.journal import JournalWatch, Replay
from streamvaultd.scopes.witnesses.network import LinkWatch
from streamvaultd.store.catalogue import Catalogue
from streamvaultd.store.postgres import credential


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """Each goes on alone; one that is away is a witness less."""

    bus: UnitBus
    journal: JournalWatch
    network: LinkWatch
    catalogue: Catalogue | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """What there is at the start: scopes, and what was said of the ends of units while there was no daemon."""

    scopes: Sequence[LiveScope]
    told: Mapping[Run, Evidence]
    replay: asyncio.Task[Replay]


def build_outside(base: Base, *, witnesses: Witnesses, network: LinkWatch) -> Outside:
    """All of them, running or not."""
    troubles, url = base.troubles, base.settings.now.catalogue
    bus = UnitBus(
        on_result=witnesses.on_unit_result, on_memory=witnesses.on_unit_memory, on_reconnect=troubles.on_bus_lost,
        on_shutdown=base.recorders.on_shutdown, on_shutdown_cancelled=base.recorders.on_shutdown_cancelled,
        tasks=base.tasks,
    )  # fmt: skip
    journal = JournalWatch(
        base.places.state / "journal.position", on_evidence=witnesses.on_evidence, on_line=witnesses.on_line,
        on_trouble=troubles.on_journal_missing,
    )  # fmt: skip
    catalogue = None if not url else Catalogue(
        url, base.store, passfile=credential(), on_trouble=troubles.on_catalogue_away,
        on_well=troubles.on_catalogue_back,
    )  # fmt: skip
    return Outside(bus=bus, journal=journal, network=network, catalogue=catalogue)


def start_outside(base: Base, outside: Outside) -> None:
    """Hear of what happens from now on."""
    base.tasks.create_task(outside.bus.run())
    if outside.catalogue is not None:
        base.tasks.create_task(outside.catalogue.run())
    base.tasks.create_task(outside.network.run())


async def ask_witnesses(base: Base, outside: Outside) -> Inventory:
    """What they say at the start; none is waited for longer than WITNESS_LIMIT."""
    replay = asyncio.create_task(in_thread("journal", outside.journal.replay))
    scopes = loaded_scopes(outside.bus, limit=WITNESS_LIMIT, on_missing=base.troubles.on_bus_missing)
    found = await base.startup.wait("the system bus", scopes)
    await base.startup.wait("the journal", asyncio.wait([replay], timeout=WITNESS_LIMIT))
    if not replay.done():
        base.troubles.on_journal_missing(f"it was not read within {WITNESS_LIMIT:g} s")
    return Inventory(scopes=found, told=replay.result().evidence() if replay.done() else {}, replay=replay)


async def hear_journal(base: Base, outside: Outside, replay: asyncio.Task[Replay]) -> None:
    """What was said while there was no daemon, then what is said."""
    heard = await replay
    if heard.has_gap:
        base.journal.tell(JOURNAL_GAP)
    for item in heard.items:
        outside.journal.tell(item)
    await outside.journal.run()
