# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of the composition root that looks after what was recorded: the audit with its repairs, and retention."""

from __future__ import annotations

from collections.abc import Callable

from streamvaultd.base.clock import Clock
from streamvaultd.base.lanes import Lanes
from streamvaultd.base.sd_notify import Notifier
from streamvaultd.config.live import LiveSettings
from streamvaultd.core.upkeep.retention import Rules
from streamvaultd.jobs.joins import Joins
from streamvaultd.recording.files.output import SegmentFiles
from streamvaultd.recording.manager import Manager
from streamvaultd.recording.removal import Removal
from streamvaultd.reporting.notices import Journal
from streamvaultd.scopes.runs import Runs
from streamvaultd.scopes.witnesses.bus import UnitBus
from streamvaultd.store.queries import QueryableStore
from streamvaultd.upkeep.audit.audits import Audits
from streamvaultd.upkeep.audit.looks import Looks
from streamvaultd.upkeep.audit.media import Media
from streamvaultd.upkeep.audit.repairs import Repairs
from streamvaultd.upkeep.audit.salvage import Salvage
from streamvaultd.upkeep.audit.survey import Survey
from streamvaultd.upkeep.pruning import Pruning
from streamvaultd.upkeep.retention import Retention


class Upkeep:
    """What compares, puts right, and gives up."""

    def __init__(
        self,
        *,
        manager: Manager,
        store: QueryableStore,
        files: SegmentFiles,
        runs: Runs,
        joins: Joins,
        removal: Removal,
        bus: UnitBus,
        notifier: Notifier,
        lanes: Lanes,
        clock: Clock,
        journal: Journal,
        settings: LiveSettings,
        rules: Callable[[str], Rules | None],
    ) -> None:
        self.pruning = Pruning(store=store, manager=manager, removal=removal, clock=clock)
        self.retention = Retention(store=store, pruning=self.pruning, clock=clock, journal=journal, rules=rules)
        self.repairs = Repairs(
            manager=manager,
            store=store,
            media=Media(lanes=lanes, files=files, salvage=Salvage()),
            runs=runs,
            joins=joins,
            clock=clock,
            journal=journal,
            settings=settings,
        )
        looks = Looks(
            manager=manager,
            store=store,
            survey=Survey(bus, lanes, notifier),
            runs=runs,
            joins=joins,
            clock=clock,
            settings=settings,
        )
        self.audits = Audits(looks=looks, repairs=self.repairs, journal=journal)
