# SPDX-License-Identifier: GPL-3.0-or-later
"""Upkeep: what compares, puts right, and gives up what was recorded."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from streamvaultd.daemon.base import Base
from streamvaultd.daemon.recording import RecordingParts
from streamvaultd.jobs.after.hook_caller import HookCalls
from streamvaultd.jobs.after.step_runs import StepRuns
from streamvaultd.jobs.after.stepper import Steps
from streamvaultd.jobs.at_work import AtWork
from streamvaultd.jobs.progress import JoinProgress, Unheard
from streamvaultd.scopes.broker import Scopes
from streamvaultd.scopes.witnesses.bus import UnitBus
from streamvaultd.scopes.witnesses.hook_units import HookUnits
from streamvaultd.upkeep.audit.audits import Audits
from streamvaultd.upkeep.audit.media import Media
from streamvaultd.upkeep.audit.repairs import Repairs
from streamvaultd.upkeep.audit.salvage import Salvage
from streamvaultd.upkeep.audit.snapshots import Snapshots
from streamvaultd.upkeep.audit.survey import Survey
from streamvaultd.upkeep.destinations import SettingsDestinations
from streamvaultd.upkeep.pruning import Pruning
from streamvaultd.upkeep.retention import Reprieve, Retention
from streamvaultd.watching.roster import Roster


@dataclass(frozen=True, slots=True, kw_only=True)
class Upkeep:
    """What is made of recordings after their joins, the audit with its repairs, and retention."""

    steps: Steps
    hooks: HookCalls
    step_progress: JoinProgress
    pruning: Pruning
    retention: Retention
    reprieve: Reprieve
    audits: Audits


def build_upkeep(base: Base, *, recording: RecordingParts, bus: UnitBus, limits: Roster, reprieve: Reprieve) -> Upkeep:
    """Repairs hear of each join that ends."""
    manager, store, clock, settings = recording.manager, base.store, base.clock, base.settings
    hooks = HookCalls(
        store=store, broker=Scopes(base.places.broker), units=HookUnits(), journal=base.journal, clock=clock,
        tasks=base.tasks,
    )  # fmt: skip
    pruning = Pruning(store=store, manager=manager, removal=recording.removal, clock=clock, limits=limits, hooks=hooks)
    progress = JoinProgress(folder=base.places.state / "jobs", watcher=recording.media, listener=Unheard())
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    destinations = SettingsDestinations(
        policies=limits, settings=settings, folder=Path(credentials) if credentials else None
    )
    step_runs = StepRuns(
        runs=recording.runs, progress=progress, reports=base.places.state / "jobs", lanes=base.lanes,
        destinations=destinations,
    )  # fmt: skip
    steps = Steps(store=store, runs=step_runs, pruning=pruning, journal=base.journal, clock=clock, tasks=base.tasks)
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
        jobs=AtWork(recording.joins, steps), chats=recording.chats, clock=clock, settings=settings,
    )  # fmt: skip
    audits = Audits(snapshots=snapshots, repairs=repairs, journal=base.journal)
    return Upkeep(
        steps=steps, hooks=hooks, step_progress=progress, pruning=pruning, retention=retention, reprieve=reprieve,
        audits=audits,
    )  # fmt: skip
