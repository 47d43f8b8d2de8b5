# SPDX-License-Identifier: GPL-3.0-or-later
"""What a recording's result is called: decided once, when its first join begins, and kept by the row of that job."""

from __future__ import annotations

import os
from pathlib import Path

from streamvaultd.base.filenames import NameFacts, fill, numbered, safe
from streamvaultd.base.lanes import Lanes
from streamvaultd.base.zones import local_time
from streamvaultd.core.model import Broadcast, Recorder
from streamvaultd.jobs.ports import NameLedger, ResultFiles, Templates


class ResultNames:
    """Names by the template that the recording began with, and by what the site says of the broadcast now."""

    def __init__(self, *, store: NameLedger, files: ResultFiles, lanes: Lanes, templates: Templates) -> None:
        self._store = store
        self._files = files
        self._lanes = lanes
        self._templates = templates

    def folder(self, recorder: Recorder) -> Path:
        """Where the result is, or will be."""
        if recorder.path is not None:
            return Path(recorder.path).parent
        return self._files.segment_path(recorder.recording, 1).parent.parent

    async def listing(self, recorder: Recorder) -> list[str]:
        """What is in that folder; raises OSError."""
        return await self._lanes.run(recorder.recording.directory, _names_in, self.folder(recorder))

    async def stem(self, recorder: Recorder, there: list[str]) -> Path:
        """The result's path without its suffix; `there` are files that are in its folder.

        An earlier join of the recording has decided it: what that left is found again under its name. Otherwise it is
        a name that no file there has, and no other recording of the streamer, whatever became of its file. It is
        decided once the row of a job has it: until then no other name may be asked for.
        """
        if recorder.path is not None:
            return Path(recorder.path).with_suffix("")
        mine, others = await self._store.outputs(recorder.recording.id)
        if mine is not None:
            return Path(mine)
        template = self._templates.template_for(recorder.recording)
        wanted = name_of(recorder, template, await self._store.broadcast(recorder.recording.id))
        folder = self.folder(recorder)
        claimed = [path.name for path in map(Path, others) if path.parent == folder]
        return folder / numbered(wanted, [*there, *claimed])


def name_of(recorder: Recorder, template: str, broadcast: Broadcast) -> str:
    """The name that a template gives a recording; it has passed config.filename.check_template()."""
    recording = recorder.recording
    chosen = [segment.quality for segment in recorder.segments if segment.quality]
    facts = NameFacts(
        streamer=recording.streamer,
        start=local_time(recording.created.realtime, recording.policy.timezone),
        recording=recording.id,
        stream=recording.stream,
        id=broadcast.site_id,
        title=broadcast.title,
        category=broadcast.category,
        quality=chosen[0] if chosen else recording.quality,
    )
    return safe(fill(template, facts), fallback=f"recording_{recording.id}")


def _names_in(folder: Path) -> list[str]:
    try:
        return [name for name in os.listdir(folder) if not name.startswith(".")]  # noqa: PTH208 - the names alone
    except FileNotFoundError:
        return []
