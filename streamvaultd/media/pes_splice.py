# SPDX-License-Identifier: GPL-3.0-or-later
"""Two transport streams with the same elementary streams in other packets, as two muxers make them of one source.

Streamlink has ffmpeg mux separate audio and video: each capture then has packets of its own, so no bytes of the files
are equal, but with copied timestamps the access units are. Where the older holds the newer's first video units, with
the same bytes at the same timestamps, it is cut there, each stream at its own first timestamp in the newer. Equal
timestamps alone are no proof: a muxer that does not copy them begins every file at the same value.

An audio unit that holds frames on both sides of the cut is cut between two of them (sound.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from streamvaultd.media import ts
from streamvaultd.media.frames import UNIT_MAX
from streamvaultd.media.sound import sound_frames
from streamvaultd.media.timeline import blocks, clock_of, first_beats, last_beats, units

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from streamvaultd.media.source import Source

# How far back in the older file the newer's start is looked for
REACH = 256 << 20
# How far the newer's first unit of each stream is looked for
HEADS_MAX = 64 << 20
# Units compared for the proof, and the least they must hold together: silence and black frames are alike
UNITS_COMPARED = 8
PROOF_MIN = 512
# What the cut may have to write anew: the media that the streams are interleaved by, some seconds
REWRITTEN_MAX = 32 << 20


class PesSplice(NamedTuple):
    """Keep older[:older_end], then `rewritten`, then newer[newer_start:]."""

    older_end: int
    rewritten: bytes
    newer_start: int
    overlap_bytes: int


def find_pes_splice(older: Source, newer: Source, reach: int = REACH) -> PesSplice | None:
    """Where and how to cut, or None without proof that both are captures of one stream.

    The newer's start is looked for in the last `reach` bytes of the older.
    """
    beats = first_beats(newer, 0, newer.size)
    clock = clock_of(beats)
    if clock is None:
        return None
    head = beats[clock].pes
    low = max(0, older.size - min(reach, REACH)) // ts.PACKET * ts.PACKET
    place = next((pes for pes in units(older, low, older.size) if _is_at(pes, head)), None)
    if place is None or not _is_same(older, place, newer, head):
        return None
    if _is_inside(older, place, newer, clock):
        return PesSplice(older.size, b"", newer.size, newer.size)
    if not _has_all(older, place, newer):
        return None
    return _cut(older, max(low, place.at - REWRITTEN_MAX), newer, place)


def _is_at(pes: ts.Pes, head: ts.Pes) -> bool:
    return (pes.pid, pes.stream, pes.dts) == (head.pid, head.stream, head.dts)


def _is_same(older: Source, place: ts.Pes, newer: Source, head: ts.Pes) -> bool:
    """True when the first units from both places on hold the same bytes, as far as both have whole ones."""
    mine, yours = _content(older, place), _content(newer, head)
    same = 0
    for one, other in zip(mine, yours, strict=False):
        if one != other:
            return False
        same += len(one[1])
    return same >= PROOF_MIN


def _content(source: Source, first: ts.Pes) -> Iterator[tuple[int, bytes]]:
    """(timestamp, elementary stream) of the first units of a PID that are there as a whole."""
    for count, unit in enumerate(_units_of(source, first.pid, first.at)):
        if count == UNITS_COMPARED:
            return
        pes = _parse(unit)
        if pes is not None:
            yield pes


def _units_of(source: Source, pid: int, start: int) -> Iterator[bytes]:
    """The PES packets of a PID from the one that begins at `start` on; the last one only if it is whole."""
    unit = bytearray()
    for _, data in blocks(source, start, source.size):
        for at in range(0, len(data), ts.PACKET):
            if ts.pid_of(data, at) != pid or (payload := ts.payload_at(data, at)) < 0:
                continue
            if data[at + 1] & 0x40:
                if unit:
                    yield bytes(unit)
                unit.clear()
            if len(unit) < UNIT_MAX:
                unit += data[payload : at + ts.PACKET]
    length = int.from_bytes(unit[4:6], "big")
    if length and len(unit) >= 6 + length:
        yield bytes(unit)


def _parse(unit: bytes) -> tuple[int, bytes] | None:
    """(decoding timestamp, elementary stream) of a PES packet (2.4.3.6)."""
    packet = bytes([ts.SYNC, 0x40, 0, 0x10]) + unit[: ts.PACKET - 4].ljust(ts.PACKET - 4, b"\xff")
    pes = ts.parse_pes(packet, 0)
    return None if pes is None else (pes.dts, unit[9 + unit[8] :])


def _is_inside(older: Source, place: ts.Pes, newer: Source, clock: int) -> bool:
    """True when older goes on at least as long as newer does, and holds newer's last unit."""
    mine, yours = last_beats(older, place.at, older.size).get(clock), last_beats(newer, 0, newer.size).get(clock)
    if mine is None or yours is None or ts.difference(mine.pes.dts, yours.pes.dts) < 0:
        return False
    last = next((pes for pes in units(older, place.at, older.size) if _is_at(pes, yours.pes)), None)
    if last is None:
        return False
    theirs = next(_units_of(newer, clock, yours.pes.at), b"")
    return not theirs or next(_units_of(older, clock, last.at), b"")[: len(theirs)] == theirs


def _has_all(older: Source, place: ts.Pes, newer: Source) -> bool:
    """True when newer has all units of the clock that older has behind the place; older's last one may be torn."""
    stamps = [pes.dts for pes in units(older, place.at, older.size) if pes.pid == place.pid][:-1]
    room = older.size - place.at + REACH
    known = {pes.dts for pes in units(newer, 0, min(newer.size, room)) if pes.pid == place.pid}
    return known.issuperset(stamps)


def _heads(newer: Source, wanted: set[int]) -> dict[int, ts.Pes]:
    """By PID, the first unit; a muxer may put seconds of video before the first audio."""
    found: dict[int, ts.Pes] = {}
    for pes in units(newer, 0, min(newer.size, HEADS_MAX)):
        found.setdefault(pes.pid, pes)
        if wanted <= found.keys():
            break
    return found


def _cut(older: Source, low: int, newer: Source, place: ts.Pes) -> PesSplice | None:
    streams = {pes.pid for pes in units(older, low, older.size)}
    heads = _heads(newer, streams)
    cuts, last = _places(older, low, place.at, heads)
    cuts[place.pid] = place.at
    cuts |= dict.fromkeys(streams - heads.keys(), older.size)
    replaced: dict[int, bytes] = {}
    for pid, pes in last.items():
        trimmed = _trimmed(older, pes, newer, heads[pid])
        if trimmed is None:
            return None
        if trimmed:
            cuts[pid], replaced[pes.at] = pes.at, trimmed
    start, end = min(cuts.values()), max(cuts.values())
    if end - start > REWRITTEN_MAX:
        return None
    rewritten = _rewritten(older, start, end, cuts, replaced, tables_end=place.at)
    return PesSplice(start, rewritten, 0, older.size - place.at)


def _places(
    older: Source, low: int, video: int, heads: Mapping[int, ts.Pes]
) -> tuple[dict[int, int], dict[int, ts.Pes]]:
    """By PID: where the older comes to the newer's first timestamp, and its last unit before that.

    An earlier clock may have run past that time, too; what counts is the crossing beside the place in the video.
    """
    cuts, last = dict[int, int](), dict[int, ts.Pes]()
    for pes in units(older, low, older.size):
        if pes.at > video and len(cuts) == len(heads):
            break
        if pes.pid in heads and ts.difference(pes.dts, heads[pes.pid].dts) < 0:
            cuts.pop(pes.pid, None)
            last[pes.pid] = pes
        elif pes.pid in heads:
            cuts.setdefault(pes.pid, pes.at)
    return {pid: cuts.get(pid, older.size) for pid in heads}, last


def _rewritten(
    older: Source, start: int, end: int, cuts: Mapping[int, int], replaced: Mapping[int, bytes], *, tables_end: int
) -> bytes:
    """The packets of older[start:end] that lie before the cut of their stream, and what replaces a cut unit."""
    kept = bytearray()
    for offset, data in blocks(older, start, min(end + ts.PACKET, older.size)):
        for at in range(0, len(data), ts.PACKET):
            where = offset + at
            kept += replaced.get(where, b"")
            if where < cuts.get(ts.pid_of(data, at), tables_end):
                kept += data[at : at + ts.PACKET]
    return bytes(kept)


def _trimmed(older: Source, pes: ts.Pes, newer: Source, head: ts.Pes) -> bytes | None:
    """The unit without the frames that newer begins with, as packets; empty if it has none of them.

    None when it has, and they are not those that newer begins with.
    """
    unit = next(_units_of(older, pes.pid, pes.at), b"")
    start = 9 + unit[8] if len(unit) > 9 else len(unit)
    for at, size, ticks in sound_frames(unit, start):
        if ts.difference(pes.dts + ticks, head.dts) < -ts.TICKS_PER_MS:
            continue
        first = next(_units_of(newer, head.pid, head.at), b"")
        if not first or first[9 + first[8] :][:size] != unit[at : at + size]:
            return None
        return _packets(older, pes, _shortened(unit[:at]))
    return b""


def _shortened(unit: bytes) -> bytes:
    """The PES packet with the length that it now has; a length of 0 says nothing, and stays."""
    if unit[4:6] == b"\0\0":
        return unit
    return unit[:4] + (len(unit) - 6).to_bytes(2, "big") + unit[6:]


def _packets(older: Source, pes: ts.Pes, unit: bytes) -> bytes:
    """A PES packet in transport packets, counted on from the one that it replaces."""
    counter = older.read(pes.at + 3, 1)[0] & 15
    packets = bytearray()
    for index, at in enumerate(range(0, len(unit), ts.PACKET - 4)):
        body = unit[at : at + ts.PACKET - 4]
        spare = ts.PACKET - 4 - len(body)
        # an adaptation field of its length byte, a byte without flags, and stuffing (2.4.3.4)
        field = b"" if not spare else bytes([spare - 1]) + (b"\0" + b"\xff" * (spare - 2) if spare > 1 else b"")
        flags = (0x30 if spare else 0x10) | (counter + index & 15)
        packets += bytes([ts.SYNC, (0x40 if not at else 0) | pes.pid >> 8, pes.pid & 0xFF, flags]) + field + body
    return bytes(packets)
