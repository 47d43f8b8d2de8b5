# SPDX-License-Identifier: GPL-3.0-or-later
"""The step that writes the chat of a recording beside each file of its result, in the formats of [chat] sidecars.

NAME.ass and NAME.vtt are subtitles that Jellyfin, Kodi, Plex and mpv find by the name of the media. What moderators
have removed is left out, as by `streamvaultctl chat`. A chat is never held, so a long one needs no more memory.
"""

from __future__ import annotations

import sys
import zlib
from pathlib import Path
from typing import Final

from streamvaultd.core.after.graph import sidecars
from streamvaultd.jobs.after.step_program import Making, MediaPart, StepFailed, StepSpec, fresh, run
from streamvaultd.jobs.chatlog.export import Wanted, export

ENDINGS: Final = {"ass": ".ass", "vtt": ".vtt", "json": "-chat.json", "text": "-chat.txt"}

Stretches = tuple[tuple[float, float, float], ...]


def make(spec: StepSpec, made: Making) -> None:
    """One file of each format for each part; raises StepFailed while the chat is not packed."""
    if spec.chat is None:
        if spec.is_chat_due:
            raise StepFailed("its chat is not packed yet")
        made.note("it has no chat")
        return
    forms = sidecars(spec.policy.get("sidecars", ()), spec.policy.get("library", ""))
    for number, part in enumerate(spec.parts, 1):
        stretches = _on_air(spec, part)
        if not stretches:
            made.note(f"when {part.path.name} was broadcast is not known: it has no chat beside it")
            continue
        for form in forms:
            _make_one(spec, made, spec.work / f"{number}.{form}", part.path, form, stretches)
        made.progress(number, len(spec.parts))


def _make_one(spec: StepSpec, made: Making, draft: Path, media: Path, form: str, on_air: Stretches) -> None:
    final = media.with_name(media.stem + ENDINGS[form])
    if made.has(draft, final):
        return
    if not _write(spec, fresh(draft), form, on_air):
        made.note(f"nobody said anything beside {media.name}")
        return
    try:
        made.publish(draft, final)
    except StepFailed as error:  # somebody else's: the other formats are made all the same
        made.note(str(error))


def _write(spec: StepSpec, draft: Path, form: str, on_air: Stretches) -> int:
    """The draft; how many messages it has. Raises OSError."""
    wanted = Wanted(
        path=spec.chat or Path(), form=form, on_air=on_air, delay=0.0, streamer=spec.streamer,
        recording=spec.recording, channel=spec.chat_channel, title=spec.title or f"Recording {spec.recording}",
    )  # fmt: skip
    pieces, tally = export(wanted)
    try:
        with draft.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            file.writelines(pieces)
    except (EOFError, zlib.error) as error:
        raise StepFailed(f"{spec.chat} is damaged: {error}", for_good=True) from error
    return tally.messages


def _on_air(spec: StepSpec, part: MediaPart) -> Stretches:
    """When the part was broadcast; of a single one that has no dates, from the recording's start on."""
    if part.on_air or len(spec.parts) > 1:
        return part.on_air
    length = part.duration_ms or (spec.ended - spec.started) / 1000
    return ((0.0, spec.started / 1000, float(length)),)


if __name__ == "__main__":
    sys.exit(run(make))
