# SPDX-License-Identifier: GPL-3.0-or-later
"""The boxes of fragmented MP4: where the clocks of its tracks run back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

LIMIT = 200_000_000
"""Larger files are not taken apart."""


class Box(NamedTuple):
    """Its type, and with its header all of it."""

    kind: bytes
    data: bytes

    @property
    def body(self) -> bytes:
        return self.data[8:]


def boxes(data: bytes) -> Iterator[Box]:
    """One behind the other, up to what is cut off."""
    at = 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if size < 8 or at + size > len(data):
            return
        yield Box(data[at + 4 : at + 8], data[at : at + size])
        at += size


def runs_of(file: Path) -> list[bytes]:
    """Parts in which each clock runs on, each with the initialisation before it; none where there are no fragments."""
    if file.stat().st_size > LIMIT:
        return []
    init, runs, last = b"", list[bytes](), dict[int, int]()
    for box in boxes(file.read_bytes()):
        if box.kind == b"ftyp":
            init, last = b"", {}
        if box.kind in (b"ftyp", b"moov"):
            init += box.data
            continue
        if box.kind == b"moof":
            times = dict(_times(box))
            if not last or any(time <= last.get(track, -1) for track, time in times.items()):
                runs.append(init)
                last = {}
            last |= times
        if runs:
            runs[-1] += box.data
    return runs


def _times(moof: Box) -> Iterator[tuple[int, int]]:
    """(track, decoding time) of each of its track fragments."""
    for traf in (box for box in boxes(moof.body) if box.kind == b"traf"):
        found = {box.kind: box.body for box in boxes(traf.body)}
        if b"tfhd" in found and b"tfdt" in found:
            time = found[b"tfdt"]
            yield int.from_bytes(found[b"tfhd"][4:8], "big"), int.from_bytes(time[4 : 12 if time[0] else 8], "big")
