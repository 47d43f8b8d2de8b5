# SPDX-License-Identifier: GPL-3.0-or-later
"""Watching: who is watched, the line to the process that asks, and what notifies people."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from streamvaultd.base.streams import open_stream
from streamvaultd.base.threads import in_thread
from streamvaultd.config import credentials, streamers
from streamvaultd.config.last_good import STREAMERS, LastGood
from streamvaultd.config.settings import Settings
from streamvaultd.config.streamer_files import StreamerFiles
from streamvaultd.daemon.base import Base, Places
from streamvaultd.errors import VaultError
from streamvaultd.recording.admission import Admission, Beginner
from streamvaultd.recording.streamlink.current import Streamlinks
from streamvaultd.reporting import notify_line
from streamvaultd.reporting.notices import STREAMERS_REFUSED
from streamvaultd.reporting.notifier import Telling
from streamvaultd.reporting.notify_line import NotifyLine
from streamvaultd.upkeep.retention import Reprieve
from streamvaultd.watching import probe_line
from streamvaultd.watching.asker import Sightings
from streamvaultd.watching.choices import Choices
from streamvaultd.watching.hints import Hints
from streamvaultd.watching.plugins import Plugins
from streamvaultd.watching.probe_line import ProbeLine
from streamvaultd.watching.profiles import Profiles
from streamvaultd.watching.roster import Roster
from streamvaultd.watching.secrets import Secrets
from streamvaultd.watching.twitch import Keys, TwitchEvents, TwitchRounds
from streamvaultd.watching.watcher import SourceProbes, Watches


@dataclass(frozen=True, slots=True, kw_only=True)
class Watching:
    """Everything about who is watched."""

    secrets: Secrets
    hints: Hints
    line: ProbeLine
    watches: Watches
    roster: Roster
    profiles: Profiles
    plugins: Plugins
    probes: SourceProbes
    choices: Choices
    telling: Telling


def build_watching(base: Base, *, streamlinks: Streamlinks, beginner: Beginner, reprieve: Reprieve) -> Watching:
    """From the line to the process upwards."""
    settings, clock, tasks, journal, places = base.settings, base.clock, base.tasks, base.journal, base.places
    secrets, hints = Secrets(journal), Hints()
    line = ProbeLine(
        connect=partial(open_stream, places.probe, limit=probe_line.LINE_MAX), programs=streamlinks, hints=hints,
        settings=settings, tasks=tasks, journal=journal,
    )  # fmt: skip
    asker = Sightings(line=line, settings=settings, secrets=secrets, clock=clock)
    watches = Watches(
        asker=asker, admission=Admission(beginner, base.store, settings), recorders=base.recorders, tasks=tasks,
        journal=journal, hub=base.hub, clock=clock, chance=random.random,
    )  # fmt: skip
    plugins = Plugins(line=line, streamlinks=streamlinks, settings=settings)
    folders = streamer_folders(places)
    roster = Roster(
        watches=watches, folders=folders, files=StreamerFiles(folders[1]), last=LastGood(places.state / STREAMERS),
        secrets=secrets, reprieve=reprieve, settings=settings, journal=journal,
    )  # fmt: skip
    choices = Choices(watches=watches, settings=settings)
    sender = NotifyLine(partial(open_stream, places.notify, limit=notify_line.LINE_MAX))
    telling = Telling(
        sender=sender, choices=choices, heard=base.heard, broadcasts=base.store, tasks=tasks, journal=journal,
        clock=clock, host=socket.gethostname(),
    )  # fmt: skip
    return Watching(
        secrets=secrets, hints=hints, line=line, watches=watches, roster=roster, plugins=plugins, choices=choices,
        profiles=Profiles(watches=watches, asker=asker, secrets=secrets, settings=settings),
        probes=SourceProbes(watches=watches, asker=asker, plugins=plugins), telling=telling,
    )  # fmt: skip


async def start_watching(base: Base, watching: Watching) -> None:
    """Read the files, learn from the store what was, and watch; once recordings are taken over."""
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    folder = Path(directory) if directory else None
    await watching.secrets.load(folder)
    await watching.roster.load(await base.store.past())
    check_targets(base, watching)
    base.tasks.create_task(watching.telling.run())
    await _start_twitch(base, watching, folder)
    base.tasks.create_task(watching.watches.run())


def check_targets(base: Base, watching: Watching) -> None:
    """Say which of the targets that are named cannot be notified."""
    base.tasks.create_task(watching.telling.check(watching.choices.targets))


async def _start_twitch(base: Base, watching: Watching, folder: Path | None) -> None:
    """What asks Twitch's API and has it tell, where there are keys for it."""
    found, mistakes = await in_thread("credentials", partial(credentials.load_helix, folder))
    for mistake in mistakes:
        base.journal.tell(STREAMERS_REFUSED, why=mistake)
    if not found:
        return
    keys, line, watches = Keys(**found), watching.line, watching.watches
    rounds = TwitchRounds(line=line, keys=keys, watches=watches, journal=base.journal, settings=base.settings)
    base.tasks.create_task(rounds.run())
    if keys.token:
        events = TwitchEvents(
            line=line, keys=keys, hints=watching.hints, watches=watches, journal=base.journal, tasks=base.tasks,
            settings=base.settings,
        )  # fmt: skip
        base.tasks.create_task(events.run())


def streamer_folders(places: Places) -> tuple[Path, Path]:
    """The administrator's files of streamers, and the daemon's own."""
    return places.etc / streamers.FOLDER, places.state / streamers.FOLDER


def check_files(places: Places, settings: Settings) -> Sequence[VaultError]:
    """Every mistake in the files of streamers."""
    return streamers.load(streamer_folders(places), {}, settings.pools)[1]
