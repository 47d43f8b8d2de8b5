# SPDX-License-Identifier: GPL-3.0-or-later
"""Of which streams a transport stream says that it consists, and whether that stays so (ISO/IEC 13818-1, 2.4.4).

An encoder that begins anew, and an advertisement, may use other PIDs, another codec, or sound of another rate. Players
of transport streams follow; a file with one index, which is made of what a stream begins with, cannot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamvaultd.media import timeline, ts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamvaultd.media.source import Source

# Types of streams that are neither pictures nor sound (table 2-34): sections, DSM-CC, metadata such as ID3; SCTE 35
_DATA = frozenset({0x05, 0x0A, 0x0B, 0x0C, 0x0D, 0x14, 0x15, 0x16, 0x86})
_PRIVATE = 0x06
# Both pictures and tables come within so many bytes
NEAR = 16 << 20
_TABLE_PAT, _TABLE_PMT = 0, 2
_CRC = 4
_WITH_PAYLOAD = bytes(byte & 0x10 for byte in range(256))

Stream = tuple[int, int]
"""PID and type."""


def first_change(source: Source) -> int | None:
    """Where there first are pictures or sound that the first table does not name, or sound of another format.

    None if nothing changes. A stream that goes is no change. Sound is looked at where it says what it is in front of
    each frame (ADTS); one unit of another format is taken for damage.
    """
    maps, named = set[int](), set[Stream]()
    sounds, others = dict[int, bytes](), dict[int, bytes]()
    for offset, data in timeline.blocks(source, 0, source.size):
        for at in ts.starts(data):
            pid = ts.pid_of(data, at)
            if pid == ts.PID_PAT:
                maps.update(maps_of(data, at))
            elif pid in maps:
                found = set(_streams(data, at))
                named = named or found
                if not found <= named:
                    return offset + at
            elif sound := _adts(data, at):
                if sound == sounds.setdefault(pid, sound):
                    others.pop(pid, None)
                elif others.get(pid) == sound:
                    return offset + at
                else:
                    others[pid] = sound
    return None


def media_pids(source: Source) -> set[int]:
    """The PIDs of all units that no table calls data: also of what no player may know, and of what no table names."""
    maps, data_pids, found = set[int](), set[int](), set[int]()
    for _, data in timeline.blocks(source, 0, source.size):
        _note_begun(data, maps, data_pids, found)
    return found - data_pids


def _note_begun(data: bytes, maps: set[int], data_pids: set[int], units: set[int]) -> None:
    """Note the PIDs of tables, of what they call data, and of units, that begin in these packets."""
    for at in ts.starts(data):
        pid, start = ts.pid_of(data, at), ts.payload_at(data, at)
        if pid == ts.PID_PAT:
            maps.update(maps_of(data, at))
        elif pid in maps:
            data_pids.update(stream for stream, kind in entries_of(data, at) if kind in _DATA)
        elif start >= 0 and data[start : start + 3] == b"\0\0\1":
            units.add(pid)


def nameless_pictures(source: Source) -> set[int]:
    """The PIDs of pictures near the start that the table calls private and does not describe: nobody can show them.

    So ffmpeg writes what transport streams have no name for, AV1 and VP9 among them.
    """
    maps, private, pictures = set[int](), set[int](), set[int]()
    for _, data in timeline.blocks(source, 0, min(source.size, NEAR)):
        for at in ts.starts(data):
            pid = ts.pid_of(data, at)
            if pid == ts.PID_PAT:
                maps.update(maps_of(data, at))
            elif pid in maps:
                private.update(stream for stream, kind in entries_of(data, at, bare=True) if kind == _PRIVATE)
            elif (pes := ts.parse_pes(data, at)) and pes.is_video:
                pictures.add(pid)
    return pictures & private


def opaque_pids(source: Source) -> set[int]:
    """The PIDs of what is neither pictures, sound nor a table, and what no table calls data."""
    maps, data_pids, found, known = set[int](), set[int](), set[int](), set[int]()
    for _, data in timeline.blocks(source, 0, source.size):
        with_payload = data[3 :: ts.PACKET].translate(_WITH_PAYLOAD)
        pids = zip(data[1 :: ts.PACKET], data[2 :: ts.PACKET], with_payload, strict=True)
        found |= {(head & 0x1F) << 8 | low for head, low, has in set(pids) if has}
        _note_begun(data, maps, data_pids, known)
    tables = set(range(ts.PID_TABLES_END)) | maps
    return found - known - data_pids - tables - {ts.PID_NULL}


def learn(data: bytes, named: dict[int, dict[int, int]]) -> None:
    """Note the types of the streams that the tables in these packets name, by table; one that is named no more goes.

    Streams of data are left out.
    """
    maps = set(named)
    for at in ts.starts(data):
        pid = ts.pid_of(data, at)
        if pid == ts.PID_PAT:
            maps = set(maps_of(data, at)) or maps
            for gone in named.keys() - maps:
                del named[gone]
        elif pid in maps and (streams := dict(_streams(data, at))):
            named[pid] = streams


def _section(data: bytes, at: int, table: int) -> bytes:
    """What a table holds between its length and its checksum, as far as it is in this packet (2.4.4.1)."""
    start = ts.payload_at(data, at)
    if start < 0:
        return b""
    section = data[start + 1 + data[start] : at + ts.PACKET]
    if len(section) < 3 or section[0] != table:
        return b""
    length = (section[1] & 0x0F) << 8 | section[2]
    return section[3 : 3 + max(0, length - _CRC)]


def maps_of(data: bytes, at: int) -> Iterator[int]:
    """PIDs of the tables that name a program's streams (2.4.4.3)."""
    section = _section(data, at, _TABLE_PAT)
    for entry in range(5, len(section) - 3, 4):
        if section[entry : entry + 2] != b"\0\0":
            yield _pid(section, entry + 2)


def _streams(data: bytes, at: int) -> Iterator[Stream]:
    """The streams of a program, but for those of data."""
    return (stream for stream in entries_of(data, at) if stream[1] not in _DATA)


def entries_of(data: bytes, at: int, *, bare: bool = False) -> Iterator[Stream]:
    """The streams of a program (2.4.4.8); those without any description if they are to be `bare`."""
    section = _section(data, at, _TABLE_PMT)
    entry = 9 + _length(section, 7) if len(section) >= 9 else len(section)
    while entry + 5 <= len(section):
        if not (bare and _length(section, entry + 3)):
            yield _pid(section, entry + 1), section[entry]
        entry += 5 + _length(section, entry + 3)


def _pid(section: bytes, at: int) -> int:
    return (section[at] & 0x1F) << 8 | section[at + 1]


def _length(section: bytes, at: int) -> int:
    return (section[at] & 0x0F) << 8 | section[at + 1]


def _adts(data: bytes, at: int) -> bytes:
    """Profile, rate and channels of the frame that a unit of sound begins with; else empty (13818-7, 1.A.2)."""
    pes = ts.parse_pes(data, at)
    if pes is None or not 0xC0 <= pes.stream <= 0xDF:
        return b""
    start = ts.payload_at(data, at)
    frame = start + 9 + data[start + 8]
    if frame + 4 > at + ts.PACKET or data[frame] != 0xFF or data[frame + 1] & 0xF6 != 0xF0:
        return b""
    return bytes([data[frame + 2] & 0xFD, data[frame + 3] & 0xC0])
