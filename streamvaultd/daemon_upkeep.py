# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of the composition root that looks after what was recorded: the audit with its repairs, and retention."""

from __future__ import annotations

from collections.abc import Callable

from streamvaultd.audits import Audits
from streamvaultd.capture.output import SegmentFiles
from streamvaultd.capture.salvage import Salvage
from streamvaultd.clock import Clock
from streamvaultd.config import Settings
from streamvaultd.core.retention import Rules
from streamvaultd.disks import Lanes
from streamvaultd.joins import Joins
from streamvaultd.manager import Manager
from streamvaultd.notices import Journal
from streamvaultd.notify import Notifier
from streamvaultd.pruning import Pruning
from streamvaultd.removal import Removal
from streamvaultd.repairs import Repairs
from streamvaultd.retention import Retention
from streamvaultd.runs import Runs
from streamvaultd.store.queries import QueryableStore
from streamvaultd.witnesses.bus import UnitBus
from streamvaultd.witnesses.survey import Survey


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
        settings: Callable[[], Settings],
        rules: Callable[[str], Rules | None],
    ) -> None:
        self.pruning = Pruning(store=store, manager=manager, removal=removal, clock=clock)
        self.retention = Retention(store=store, pruning=self.pruning, clock=clock, journal=journal, rules=rules)
        self.repairs = Repairs(
            manager=manager,
            store=store,
            files=files,
            salvage=Salvage(),
            lanes=lanes,
            runs=runs,
            joins=joins,
            fd_store=notifier,
            clock=clock,
            journal=journal,
            settings=settings,
        )
        self.audits = Audits(
            manager=manager,
            store=store,
            survey=Survey(bus, lanes, stored=lambda: notifier.stored),
            runs=runs,
            joins=joins,
            repairs=self.repairs,
            clock=clock,
            journal=journal,
            settings=settings,
        )
