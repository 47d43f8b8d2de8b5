# SPDX-License-Identifier: GPL-3.0-or-later
"""The step that makes contact sheets: a picture every ten seconds, a hundred of them on each sheet.

They lie as Jellyfin looks for pictures to scrub by (`NAME.trickplay/320 - 10x10/0.jpg`, its own defaults), so that it
makes none itself. One pass, which decodes key frames alone, for each file of the result.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from streamvaultd.jobs.after.step_program import LOCAL, Making, MediaPart, StepFailed, StepSpec, fresh, run

INTERVAL: Final = 10
"""Seconds between two pictures."""

WIDTH: Final = 320
TILES: Final = 10
FOLDER: Final = f"{WIDTH} - {TILES}x{TILES}"
WHOLE: Final = "whole"
"""A file beside the drafts that says that they are all there."""
STREAMS: Final = ("-select_streams", "v:0", "-show_entries", "stream=codec_type", "-of", "csv=p=0")


def make(spec: StepSpec, made: Making) -> None:
    """The sheets of each part; a note for one that has no pictures."""
    for number, part in enumerate(spec.parts, 1):
        drafts = spec.work / f"sheets-{number}"
        if not (drafts / WHOLE).exists():
            if not made.command(("ffprobe", *LOCAL, *STREAMS, f"file:{part.path}")).strip():
                made.note(f"{part.path.name} has no pictures to make sheets of")
                continue
            _draw(part, fresh(drafts), made)
        folder = part.path.with_name(f"{part.path.stem}.trickplay") / FOLDER
        for draft in sorted(drafts.glob("*.jpg"), key=lambda path: int(path.stem)):
            made.publish(draft, folder / draft.name)
        made.progress(number, len(spec.parts))


def _draw(part: MediaPart, drafts: Path, made: Making) -> None:
    drafts.mkdir()
    names = f"{drafts}/".replace("%", "%%")  # ffmpeg reads its last argument as a pattern
    made.command((
        "ffmpeg", "-nostdin", *LOCAL, "-threads", "1", "-discard", "nokey", "-skip_frame", "nokey",
        "-i", f"file:{part.path}", "-map", "0:v:0", "-an", "-sn", "-dn",
        "-vf", f"fps=1/{INTERVAL},scale={WIDTH}:-2,tile={TILES}x{TILES}", "-fps_mode", "passthrough",
        "-q:v", "4", "-bitexact", "-f", "image2", "-start_number", "0", f"file:{names}%d.jpg",
    ))  # fmt: skip
    if not any(drafts.glob("*.jpg")):
        raise StepFailed(f"ffmpeg finds no key frame in {part.path.name}")
    (drafts / WHOLE).touch()


if __name__ == "__main__":
    sys.exit(run(make))
