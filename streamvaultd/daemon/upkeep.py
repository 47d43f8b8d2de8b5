# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of the composition root that looks after what was recorded: the audit with its repairs, and retention."""

from __future__ import annotations

from collections.abc import Callable

from streamvaultd.base.sd_notify import Notifier
from streamvaultd.core.upkeep.retention import Rules
from streamvaultd.daemon.base import Base
from streamvaultd.jobs.joins import Joins
from streamvaultd.recording.manager import Manager
from streamvaultd.recording.removal import Removal
from streamvaultd.scopes.runs import Runs
from streamvaultd.scopes.witnesses.bus import UnitBus
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
        base: Base,
        *,
        manager: Manager,
        runs: Runs,
        joins: Joins,
        removal: Removal,
        bus: UnitBus,
        notifier: Notifier,
        rules: Callable[[str], Rules | None],
    ) -> None:
        self.pruning = Pruning(store=base.store, manager=manager, removal=removal, clock=base.clock)
        self.retention = Retention(
            store=base.store, pruning=self.pruning, clock=base.clock, journal=base.journal, rules=rules
        )
        self.repairs = Repairs(
            manager=manager,
            store=base.store,
            media=Media(lanes=base.lanes, files=base.files, salvage=Salvage()),
            runs=runs,
            joins=joins,
            clock=base.clock,
            journal=base.journal,
            settings=base.settings,
        )
        looks = Looks(
            manager=manager,
            store=base.store,
            survey=Survey(bus, base.lanes, notifier),
            runs=runs,
            joins=joins,
            clock=base.clock,
            settings=base.settings,
        )
        self.audits = Audits(looks=looks, repairs=self.repairs, journal=base.journal)
