# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether an MP4 has all that a transport stream has, unit for unit: read by other means than those that made it.

Of each stream the content of all units is compared in order, as the two formats have it in common: pictures by NAL
units (start codes in the one, lengths in the other), AAC by frames without the header that each has in a transport
stream, all else by its bytes. And each unit with a time is shown when the transport stream says. What an MP4 has no
track for stands in a box of its own, packet for packet. Memory is that of a unit, and both are read once.
docs/design/003-join.md
"""

from __future__ import annotations

import hashlib
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Final

from streamvaultd.media import fmp4, mp4, payload, ts
from streamvaultd.media.programs import NEAR, learn
from streamvaultd.media.source import Clipped
from streamvaultd.media.timeline import blocks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from streamvaultd.media.source import Source

OTHERS: Final = bytes.fromhex("5e2f6a1c9b7d4e53a8c0d4173f9be620")
"""The type of the box for what no track has (uuid, ISO/IEC 14496-12, 11.1)."""

OTHERS_HEAD: Final = 32

SLACK: Final = 0.005
"""How far (s) a time may be off: those of MP4 are rounded to its clocks."""

SYNC: Final = 0.1
"""How far (s) two streams may be off against each other where ffmpeg puts together what has clocks of its own."""

_AVC, _HEVC, _AAC = 0x1B, 0x24, 0x0F
_CODE: Final = b"\0\0\1"
_ZEROS_MAX: Final = 16
_CHUNK: Final = 1 << 20


class Differs(Exception):
    """What the MP4 does not have."""


class _Content:
    """What a stream consists of, in a form that both formats have in common; here its bytes.

    `count` is how much of it there was, and `ready` what was not compared yet.
    """

    def __init__(self) -> None:
        self.count = 0
        self.ready = b""

    def add(self, body: bytes) -> int | None:
        """A unit; where the first thing that begins in it is, by `count`; None if that cannot be told."""
        at = self.count
        self.add_sample(body)
        return at

    def add_sample(self, body: bytes) -> None:
        """The same of an MP4."""
        self.ready += body
        self.count += len(body)

    def finish(self) -> None:
        """Nothing comes behind it."""


class _Things(_Content):
    """One after the other, each with its length."""

    def __init__(self) -> None:
        super().__init__()
        self._rest = b""

    def _put(self, things: Sequence[bytes]) -> None:
        pieces = [piece for thing in things for piece in (len(thing).to_bytes(4, "big"), thing)]
        self.ready = b"".join([self.ready, *pieces])
        self.count += len(things)


class _Frames(_Things):
    """AAC; each frame has a header in a transport stream (ADTS, ISO/IEC 13818-7, 1.A.2)."""

    def add(self, body: bytes) -> int | None:
        first = self.count + bool(self._rest)
        data, at = self._rest + body, 0
        frames = []
        while at + 7 <= len(data):
            if data[at] != 0xFF or data[at + 1] & 0xF6 != 0xF0:
                raise Differs("sound that is not understood")
            size = (data[at + 3] & 3) << 11 | data[at + 4] << 3 | data[at + 5] >> 5
            head = 7 if data[at + 1] & 1 else 9
            if size < head:
                raise Differs("sound that is not understood")
            if at + size > len(data):
                break
            frames.append(data[at + head : at + size])
            at += size
        self._put(frames)
        self._rest = data[at:]
        return first

    def add_sample(self, body: bytes) -> None:
        self._put([body])

    def finish(self) -> None:
        if self._rest:
            self._put([self._rest])
            self._rest = b""


class _Nals(_Things):
    """H.264 and HEVC: NAL units (annex B of both; ISO/IEC 14496-15)."""

    def add(self, body: bytes) -> int | None:
        is_start = body.startswith(_CODE[:2]) and body[:_ZEROS_MAX].lstrip(b"\0").startswith(_CODE[2:])
        if is_start:
            self.finish()
        first = self.count if is_start else None
        data = self._rest + body
        at = data.find(_CODE)
        if at < 0 or data[:at].strip(b"\0"):
            raise Differs("pictures that are not understood")
        nals = []
        while (end := data.find(_CODE, at + len(_CODE))) >= 0:
            nals.append(data[at + len(_CODE) : end])
            at = end
        self._put_nals(nals)
        self._rest = data[at:]
        if len(self._rest) > payload.UNIT_MAX:
            raise Differs("pictures that are not understood")
        return first

    def add_sample(self, body: bytes) -> None:
        at, nals = 0, []
        while at < len(body):
            size = int.from_bytes(body[at : at + 4], "big")
            if at + 4 + size > len(body):
                raise Differs("pictures that are not understood")
            nals.append(body[at + 4 : at + 4 + size])
            at += 4 + size
        self._put_nals(nals)

    def _put_nals(self, nals: Sequence[bytes]) -> None:
        # zeros may be put behind each
        self._put([nal for each in nals if (nal := each.rstrip(b"\0"))])

    def finish(self) -> None:
        if self._rest:
            self._put_nals([self._rest[len(_CODE) :]])
            self._rest = b""


def _content(kind: int | None) -> _Content:
    if kind in (_AVC, _HEVC):
        return _Nals()
    return _Frames() if kind == _AAC else _Content()


class _Stream:
    """A stream of the transport stream beside its track."""

    def __init__(self, pid: int, kind: int | None, made: Source, track: mp4.Track) -> None:
        self._pid = pid
        self._mine, self._theirs = _content(kind), _content(kind)
        self._made = made
        self._samples = mp4.samples(made, track)
        self._is_exact = kind in (_AVC, _HEVC, _AAC)
        self._is_timed = False
        self._last: tuple[int, float] | None = None
        self.offsets: list[tuple[int, float]] = []
        """(ticks, seconds) of the first unit of each piece: when it is shown by either."""

    def feed(self, unit: payload.Unit) -> None:
        at = self._mine.add(unit.body)
        shown = None if at is None else self._reach(at)
        self._match(unit.at)
        if unit.ticks is None:
            return
        self._is_timed = True
        if shown is None and self._is_exact:
            raise Differs(f"what PID {self._pid} has at byte {unit.at} begins no sample")
        if shown is not None:
            self._compare((unit.ticks + unit.late) % ts.WRAP, shown)

    def _reach(self, at: int) -> float | None:
        """When the sample is shown that begins there."""
        while True:
            begins = self._theirs.count
            if begins > at:
                return None
            sample = next(self._samples, None)
            if sample is None:
                raise Differs(f"the MP4 ends before PID {self._pid} does")
            self._theirs.add_sample(self._made.read(sample.at, sample.size))
            if begins == at and self._theirs.count > begins:
                return sample.shown

    def _compare(self, ticks: int, shown: float) -> None:
        if self._last is not None:
            before, expected = self._last
            expected += ts.difference(ticks, before) / (1000 * ts.TICKS_PER_MS)
            if abs(shown - expected) <= SLACK:
                self._last = ticks, expected
                return
        self.offsets.append((ticks, shown))
        self._last = ticks, shown

    def _match(self, at: int) -> None:
        """Compares what both have by now."""
        mine, theirs = self._mine.ready, self._theirs.ready
        size = min(len(mine), len(theirs))
        if mine[:size] != theirs[:size]:
            raise Differs(f"what PID {self._pid} has up to byte {at} is not in its track")
        self._mine.ready, self._theirs.ready = mine[size:], theirs[size:]

    def finish(self, end: int) -> None:
        self._mine.finish()
        for sample in self._samples:
            self._theirs.add_sample(self._made.read(sample.at, sample.size))
            self._match(end)
        self._match(end)
        if self._mine.ready or self._theirs.ready:
            raise Differs(f"PID {self._pid} and its track do not end together")
        if self._is_timed and not self.offsets:
            raise Differs(f"nothing tells when PID {self._pid} is shown")


def require_same(source: Source, made: Source, pids: Sequence[int], clocks: int) -> set[int]:
    """Raises Differs unless each of the PIDs is in the track at the same place, and mp4.Unreadable.

    `clocks`: so many pieces with a clock of their own the transport stream has. Returns the PIDs of all other streams,
    known or not.
    """
    tracks = [track for track in mp4.tracks(made) if track.handler != mp4.TEXT]
    if len(tracks) != len(pids):
        raise Differs(f"it has {len(tracks)} tracks, and there are {len(pids)} streams")
    kinds = _kinds(source)
    streams = {pid: _Stream(pid, kinds.get(pid), made, track) for pid, track in zip(pids, tracks, strict=True)}
    others = set[int]()
    for unit in payload.units(source, 0, source.size):
        if unit.pid not in streams:
            others.add(unit.pid)
        else:
            streams[unit.pid].feed(unit)
    for stream in streams.values():
        stream.finish(source.size)
    _require_times(list(streams.values()), clocks)
    return others


def _require_times(streams: Sequence[_Stream], clocks: int) -> None:
    """Raises Differs unless times jump only where another clock begins, and the same for all streams."""
    for one, other in pairwise(streams):
        for (ticks, shown), (others, them) in zip(one.offsets, other.offsets, strict=False):
            if abs(them - shown - ts.difference(others, ticks) / (1000 * ts.TICKS_PER_MS)) > SYNC:
                raise Differs("its streams would be shown at other times against each other")
    if any(len(stream.offsets) > clocks for stream in streams):
        raise Differs("what it has would be shown at other times")


def _kinds(source: Source) -> dict[int, int]:
    """By PID, the type of each stream that a table names; those that begin later make no MP4."""
    found: dict[int, int] = {}
    for _, data in blocks(source, 0, min(source.size, NEAR)):
        named: dict[int, dict[int, int]] = {}
        learn(data, named)
        for streams in named.values():
            found |= streams
    return found


# --- what no track has ---------------------------------------------------------------------------------------------


def packets_of(source: Source, pids: set[int]) -> Iterator[bytes]:
    """All packets of these PIDs that have a payload, in order."""
    for _, data in blocks(source, 0, source.size):
        at = 0
        for (head, low), group in groupby(zip(data[1 :: ts.PACKET], data[2 :: ts.PACKET], strict=True)):
            end = at + ts.PACKET * sum(1 for _ in group)
            if (head & 0x1F) << 8 | low in pids:
                yield data[at:end]
            at = end


def others_head(size: int) -> bytes:
    """What stands before packets of so many bytes in their box."""
    return b"\0\0\0\1uuid" + (OTHERS_HEAD + size).to_bytes(8, "big") + OTHERS


def has_others(source: Source, made: Source, pids: set[int]) -> bool:
    """Whether the MP4 ends with a box of all packets of these PIDs."""
    box = next((box for box in fmp4.boxes(made) if made.read(box.start + 16, 16) == OTHERS), None)
    if box is None:
        return not pids
    found = hashlib.blake2b()
    for at in range(box.start + OTHERS_HEAD, box.end, _CHUNK):
        found.update(Clipped(made, box.end).read(at, _CHUNK))
    wanted = hashlib.blake2b()
    for data in packets_of(source, pids):
        wanted.update(data)
    return found.digest() == wanted.digest()
