# SPDX-License-Identifier: GPL-3.0-or-later
"""The step that makes a picture of a recording: NAME-thumb.jpg beside NAME.mp4, as media servers look for it.

It is one key frame of the first tenth, so little is read and one frame is decoded, however long the recording is.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from streamvaultd.jobs.after.step_program import LOCAL, Making, MediaPart, StepFailed, StepSpec, fresh, run

WIDTH: Final = 1280
PLACE: Final = 0.1
"""Where the picture is, as a share of the length: behind what a broadcast begins with."""
STREAMS: Final = ("-select_streams", "v:0", "-show_entries", "stream=codec_type", "-of", "csv=p=0")


def make(spec: StepSpec, made: Making) -> None:
    """One JPEG of the first part; none, and a note, if that has no pictures."""
    part = spec.parts[0]
    final = part.path.with_name(f"{part.path.stem}-thumb.jpg")
    draft = spec.work / "thumbnail.jpg"
    if made.has(draft, final):
        return
    if not made.command(("ffprobe", *LOCAL, *STREAMS, f"file:{part.path}")).strip():
        made.note("it has no pictures to make a thumbnail of")
        return
    why = StepFailed("ffmpeg finds no key frame")
    for second in _places(part):
        try:
            made.command(_command(part.path, second, fresh(draft)))
        except StepFailed as error:  # as some versions end where nothing is behind the place
            why = error
            continue
        if draft.exists() and draft.stat().st_size:
            made.publish(draft, final)
            return
    raise why


def _places(part: MediaPart) -> tuple[float, ...]:
    """Where to look for a key frame (s): there, or at the start if there is none."""
    return (0.0,) if not part.duration_ms else (round(part.duration_ms / 1000 * PLACE, 3), 0.0)


def _command(source: Path, second: float, draft: Path) -> tuple[str, ...]:
    return (
        "ffmpeg", "-nostdin", *LOCAL, "-y", "-threads", "1", "-skip_frame", "nokey", "-noaccurate_seek",
        "-ss", str(second), "-i", f"file:{source}", "-map", "0:v:0", "-frames:v", "1", "-an", "-sn", "-dn",
        "-vf", f"scale='min({WIDTH},iw)':-2", "-q:v", "4", "-bitexact", "-f", "image2", "-update", "1",
        f"file:{draft}",
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(run(make))
