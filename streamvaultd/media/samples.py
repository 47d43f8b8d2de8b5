# SPDX-License-Identifier: GPL-3.0-or-later
"""The samples of one fragment of MP4 (ISO/IEC 14496-12, 8.8): where each is, whose, and when; read for proofs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from streamvaultd.media.fragments import SAMPLES_MAX, children, content

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from streamvaultd.media.fmp4 import Box
    from streamvaultd.media.source import Source

_BASE, _DESCRIPTION, _DURATION, _SIZE, _MOOF_IS_BASE = 0x1, 0x2, 0x8, 0x10, 0x020000
_OFFSET, _FIRST_FLAGS = 0x1, 0x4
_FIELDS: Final = (0x100, 0x200, 0x400, 0x800)
"""Of each sample of a run: duration, size, flags, how much later it is shown."""


class Sample(NamedTuple):
    """`size` bytes at `at` of the file, decoded at `ticks` of its track's clock, and shown `late` ticks later."""

    track: int
    ticks: int
    late: int
    at: int
    size: int


class Usual(NamedTuple):
    """What a track's samples have that do not say otherwise."""

    duration: int
    size: int


class _Unknown(Exception):
    """It is not said where the samples are."""


def usual_of(source: Source, moov: Box) -> dict[int, Usual]:
    """By track, what the header says of all samples (8.8.3)."""
    found: dict[int, Usual] = {}
    for kind, body in children(content(source, moov)):
        for inner, trex in children(body) if kind == b"mvex" else ():
            if inner == b"trex" and len(trex) >= 20:
                found[_number(trex, 4)] = Usual(_number(trex, 12), _number(trex, 16))
    return found


def samples(source: Source, moof: Box, known: Mapping[int, Usual]) -> list[Sample] | None:
    """All samples that a fragment describes, in order; None where it does not say for each where it is and when."""
    found: list[Sample] = []
    data = content(source, moof)
    try:
        end = moof.start
        for kind, body in children(data):
            if kind == b"traf":
                found += _of_track(list(children(body)), moof.start, end, known)
                end = found[-1].at + found[-1].size if found else end
    except (_Unknown, IndexError):
        return None
    return found if data else None


def _number(data: bytes, at: int, length: int = 4) -> int:
    if at + length > len(data):
        raise _Unknown
    return int.from_bytes(data[at : at + length], "big")


def _of_track(parts: list[tuple[bytes, bytes]], moof: int, end: int, known: Mapping[int, Usual]) -> Iterator[Sample]:
    head, clock = dict(parts).get(b"tfhd", b""), dict(parts).get(b"tfdt", b"")
    flags, track = _number(head, 1, 3), _number(head, 4)
    ticks = _number(clock, 4, 8 if clock[:1] == b"\1" else 4)
    at = 8
    base = moof if flags & _MOOF_IS_BASE else end
    if flags & _BASE:
        base, at = _number(head, at, 8), at + 8
    at += 4 * bool(flags & _DESCRIPTION)
    usual = known.get(track, Usual(0, 0))
    if flags & _DURATION:
        usual, at = usual._replace(duration=_number(head, at)), at + 4
    if flags & _SIZE:
        usual = usual._replace(size=_number(head, at))
    place = base
    for kind, body in parts:
        if kind != b"trun":
            continue
        offset = _number(body, 8) if _number(body, 1, 3) & _OFFSET else None
        place = place if offset is None else base + _signed(offset)
        for duration, size, late in _entries(body, usual):
            yield Sample(track, ticks, late, place, size)
            ticks, place = ticks + duration, place + size


def _entries(run: bytes, usual: Usual) -> Iterator[tuple[int, int, int]]:
    """(duration, size, how much later it is shown) of each sample of a run."""
    flags, count = _number(run, 1, 3), _number(run, 4)
    fields = [field for field in _FIELDS if flags & field]
    at = 8 + 4 * bool(flags & _OFFSET) + 4 * bool(flags & _FIRST_FLAGS)
    step = 4 * len(fields)
    if count > SAMPLES_MAX or at + count * step > len(run):
        raise _Unknown
    for place in range(at, at + count * step, step) if step else [at] * count:
        said = {field: _number(run, place + 4 * index) for index, field in enumerate(fields)}
        duration, size = said.get(0x100, usual.duration), said.get(0x200, usual.size)
        if not size:
            raise _Unknown
        yield duration, size, _signed(said.get(0x800, 0))


def _signed(value: int) -> int:
    return value - (1 << 32) if value >> 31 else value
