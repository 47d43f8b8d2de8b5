# SPDX-License-Identifier: GPL-3.0-or-later
"""Frame counting: what the source offered against what a file has, frame by frame.

`python3 -m tests.testbed.frames FILE [--state JSON]` prints it for a file recorded from the default media.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.fakes.ffmpeg import audio_packets, decode
from tests.fakes.media import MediaSpec, ensure_media

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.fakes.media import Media


@dataclass(frozen=True, slots=True)
class FrameCount:
    """`expected` frames from `first` on; `found` of these at least once."""

    first: int
    expected: int
    found: int
    lost: tuple[int, ...]
    repeated: int
    foreign: int
    """frames that are none of the source's: damaged ones"""
    disordered: int
    """frames that come before one that the source had earlier"""
    complaints: tuple[str, ...] = ()
    """what the decoder said"""

    @property
    def is_perfect(self) -> bool:
        return not (self.lost or self.repeated or self.foreign or self.disordered)

    def __str__(self) -> str:
        return (
            f"frames: {self.expected} expected, {self.found} found, {len(self.lost)} lost, "
            f"{self.repeated} repeated, {self.foreign} damaged, {self.disordered} out of order"
        )


def count_frames(
    files: Path | Sequence[Path],
    media: Media,
    *,
    track: str = "video",
    first_segment: int | None = None,
    last_segment: int | None = None,
) -> FrameCount:
    """Compare a recording with the media segments `first_segment` … `last_segment` (both included).

    `files` are the parts of its result, in order. Of the track "audio" packets are counted, as they are.
    Without a first media segment the recording may have begun anywhere: then that of its first frame counts.
    Without a last one that of its last frame does.
    """
    look = decode if track == "video" else audio_packets
    parts = [look(file) for file in ([files] if isinstance(files, Path) else files)]
    index = media.index(track)
    numbers = [index.numbers.get(digest) for part in parts for digest in part.digests]
    known = [number for number in numbers if number is not None]
    if first_segment is None:
        first_segment = index.segment_of(min(known, default=0))
    if last_segment is None:
        last_segment = index.segment_of(max(known)) if known else first_segment - 1
    expected = range(index.starts[first_segment], index.starts[last_segment + 1])
    seen = Counter(known)
    return FrameCount(
        first=expected.start,
        expected=len(expected),
        found=sum(1 for number in expected if number in seen),
        lost=tuple(number for number in expected if number not in seen),
        repeated=seen.total() - len(seen),
        foreign=len(numbers) - len(known),
        disordered=sum(1 for before, after in itertools.pairwise(known) if after < before),
        complaints=tuple(line for part in parts for line in part.complaints),
    )


def main() -> None:
    """Print the count of one file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--state", help="the answer of GET /state/CHANNEL: count up to the last one offered")
    args = parser.parse_args()
    last = json.loads(args.state)["last"] if args.state else None
    print(count_frames(args.file, ensure_media(MediaSpec()), last_segment=last))


if __name__ == "__main__":
    main()
