# SPDX-License-Identifier: GPL-3.0-or-later
"""Upkeep: what compares, puts right, and gives up what was recorded."""

from __future__ import annotations

from dataclasses import dataclass

from streamvaultd.daemon.base import Base
from streamvaultd.daemon.recording import RecordingParts
from streamvaultd.scopes.witnesses.bus import UnitBus
from streamvaultd.upkeep.audit.audits import Audits
from streamvaultd.upkeep.audit.media import Media
from streamvaultd.upkeep.audit.repairs import Repairs
from streamvaultd.upkeep.audit.salvage import Salvage
from streamvaultd.upkeep.audit.snapshots import Snapshots
from streamvaultd.upkeep.audit.survey import Survey
from streamvaultd.upkeep.pruning import Pruning
from streamvaultd.upkeep.retention import Limits, Reprieve, Retention


@dataclass(frozen=True, slots=True, kw_only=True)
class Upkeep:
    """The audit with its repairs, and retention."""

    pruning: Pruning
    retention: Retention
    reprieve: Reprieve
    audits: Audits


def build_upkeep(base: Base, *, recording: RecordingParts, bus: UnitBus, limits: Limits, reprieve: Reprieve) -> Upkeep:
    """Repairs hear of each join that ends."""
    manager, store, clock, settings = recording.manager, base.store, base.clock, base.settings
    pruning = Pruning(store=store, manager=manager, removal=recording.removal, clock=clock)
    retention = Retention(
        store=store, pruning=pruning, limits=limits, reprieve=reprieve, clock=clock, journal=base.journal
    )
    repairs = Repairs(
        manager=manager, store=store, media=Media(lanes=base.lanes, files=base.files, salvage=Salvage()),
        runs=recording.runs, joins=recording.joins, clock=clock, journal=base.journal, settings=settings,
    )  # fmt: skip
    recording.joins.listeners.append(repairs.on_join_ended)
    snapshots = Snapshots(
        manager=manager, store=store, survey=Survey(bus, base.lanes, base.notifier), runs=recording.runs,
        joins=recording.joins, chats=recording.chats, clock=clock, settings=settings,
    )  # fmt: skip
    audits = Audits(snapshots=snapshots, repairs=repairs, journal=base.journal)
    return Upkeep(pruning=pruning, retention=retention, reprieve=reprieve, audits=audits)
