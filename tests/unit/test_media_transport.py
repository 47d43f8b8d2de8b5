# SPDX-License-Identifier: GPL-3.0-or-later
"""A small deterministic broadcast in MPEG-TS, and what the packet parser sees in it."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from functools import cached_property

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamvaultd.media import timeline, ts
from tests.fakes.memory import BytesSource

VIDEO, AUDIO, PMT = 0x100, 0x101, 0x1000
FRAME_TICKS = 3000
FRAMES_PER_SEGMENT = 12
PROGRAMS = bytes([0, 0xB0, 13, 0, 1, 0xC1, 0, 0, 0, 1, 0xE0 | PMT >> 8, PMT & 0xFF, 0, 0, 0, 0])
"""The table that says where PMT is, without its checksum."""


def _stamp(prefix: int, ticks: int) -> bytes:
    ticks %= ts.WRAP
    return bytes(
        [
            prefix << 4 | (ticks >> 30 & 7) << 1 | 1,
            ticks >> 22 & 0xFF,
            (ticks >> 15 & 0x7F) << 1 | 1,
            ticks >> 7 & 0xFF,
            (ticks & 0x7F) << 1 | 1,
        ]
    )


def _pes(stream: int, pts: int, dts: int | None, body: bytes) -> bytes:
    stamps = _stamp(2, pts) if dts is None else _stamp(3, pts) + _stamp(1, dts)
    flags = 0x80 if dts is None else 0xC0
    return bytes([0, 0, 1, stream, 0, 0, 0x80, flags, len(stamps)]) + stamps + body


def _clock_field(ticks: int) -> bytes:
    """An adaptation field with a random access point and a clock reference (33 bits, 6 spare, 9 of extension)."""
    base = ticks % ts.WRAP
    return bytes([7, 0x50, *(base << 15 | 0x7E00).to_bytes(6, "big")])


@dataclass
class Broadcast:
    """Media segments of 12 frames at 30 frames a second, with sound, tables and continuous counters."""

    count: int
    seed: int = 1
    start: int = 126_000
    counters: dict[int, int] = field(default_factory=dict)

    @cached_property
    def segments(self) -> list[bytes]:
        rnd = random.Random(self.seed)  # noqa: S311 - media that look random, no secrets
        return [self._segment(number, rnd) for number in range(self.count)]

    def window(self, first: int, last: int) -> bytes:
        """Media segments first..last, as one capture of the source would write them."""
        return b"".join(self.segments[first : last + 1])

    def _packets(self, pid: int, unit: bytes, adaptation: bytes = b"") -> bytes:
        out, first = bytearray(), True
        while unit:
            room = ts.PACKET - 4 - len(adaptation)
            piece, unit = unit[:room], unit[room:]
            if len(piece) < room:
                stuffing = room - len(piece)
                adaptation = self._stuffed(adaptation, stuffing)
            counter = self.counters.get(pid, 0)
            self.counters[pid] = counter + 1 & 15
            control = 0x30 if adaptation else 0x10
            out += bytes([ts.SYNC, (0x40 if first else 0) | pid >> 8, pid & 0xFF, control | counter])
            out += adaptation + piece
            adaptation, first = b"", False
        return bytes(out)

    @staticmethod
    def _stuffed(adaptation: bytes, size: int) -> bytes:
        if adaptation:
            return bytes([adaptation[0] + size]) + adaptation[1:] + b"\xff" * size
        return bytes([size - 1]) + (b"\0" + b"\xff" * (size - 2) if size > 1 else b"")

    def _segment(self, number: int, rnd: random.Random) -> bytes:
        out = bytearray()
        for pid in (0x11, 0, PMT):
            table = b"" if pid else PROGRAMS
            out += self._packets(pid, (b"\0" + table).ljust(184, bytes([pid & 0xFF])))
        for frame in range(FRAMES_PER_SEGMENT):
            dts = self.start + (number * FRAMES_PER_SEGMENT + frame) * FRAME_TICKS
            body = rnd.randbytes(rnd.randrange(100, 900))
            clock = _clock_field(dts - FRAME_TICKS) if frame == 0 else b""
            out += self._packets(VIDEO, _pes(0xE0, dts + 2 * FRAME_TICKS, dts, body), clock)
            if frame % 3 == 1:
                out += self._packets(AUDIO, _pes(0xC0, dts, None, rnd.randbytes(250)))
        return bytes(out)


def fragments(count: int, *, seed: int = 1) -> list[bytes]:
    """A header and then `count` fragments of an MP4 that is none, but has its boxes."""
    rnd = random.Random(seed)  # noqa: S311 - media that look random, no secrets

    def box(kind: bytes, body: bytes) -> bytes:
        return (8 + len(body)).to_bytes(4, "big") + kind + body

    header = box(b"ftyp", b"iso6") + box(b"moov", b"\0" * 300)
    return [header, *(box(b"moof", rnd.randbytes(80)) + box(b"mdat", rnd.randbytes(6000)) for _ in range(count))]


def test_every_frame_is_found_with_its_time() -> None:
    data = Broadcast(3).window(0, 2)
    video = [pes for pes in ts.pes_starts(data) if pes.pid == VIDEO]
    assert [pes.dts for pes in video] == [126_000 + FRAME_TICKS * n for n in range(3 * FRAMES_PER_SEGMENT)]
    assert all(pes.is_video for pes in video)


def test_counters_go_on_and_a_lost_packet_is_seen() -> None:
    data = Broadcast(3).window(0, 2)
    assert list(ts.continuity_breaks({}, data)) == []
    at = next(pes.at for pes in ts.pes_starts(data) if pes.at > 5000)
    pid = ts.pid_of(data, at)
    assert [p for _, p in ts.continuity_breaks({}, data[:at] + data[at + ts.PACKET :])] == [pid]


def test_an_announced_discontinuity_is_no_break() -> None:
    data = Broadcast(9)
    before: dict[int, int] = {}
    list(ts.continuity_breaks(before, data.segments[0]))
    after = data.segments[7]
    counters = timeline.counters_before(BytesSource(after), 0, len(after))
    mark = ts.discontinuity(counters.items())
    assert ts.synced(mark) == len(mark) == len(counters) * ts.PACKET
    assert list(ts.continuity_breaks(before, mark + after)) == []


@pytest.mark.parametrize(
    ("later", "earlier", "ticks"), [(5, 3, 2), (3, 5, -2), (1, ts.WRAP - 1, 2), (ts.WRAP - 1, 1, -2), (7, 7, 0)]
)
def test_difference_crosses_the_wrap(later: int, earlier: int, ticks: int) -> None:
    assert ts.difference(later, earlier) == ticks


@given(data=st.binary(max_size=4000), start=st.integers(0, 1000))
def test_noise_is_parsed_without_an_exception(data: bytes, start: int) -> None:
    whole = data[: len(data) // ts.PACKET * ts.PACKET]
    list(ts.pes_starts(whole))
    list(ts.continuity_breaks({}, whole))
    assert ts.synced(data) <= len(data)
    assert ts.resync(data, start) < len(data)
    source = BytesSource(data)
    assert 0 <= timeline.whole_end(source) <= len(data)
    timeline.duration_ms(source)


@given(cut=st.integers(0, 30_000), junk=st.integers(0, 3000), fill=st.sampled_from([b"\0", b"\x47", b"\xff", b"x"]))
def test_the_whole_end_ignores_what_a_power_failure_left(cut: int, junk: int, fill: bytes) -> None:
    data = Broadcast(4).window(0, 3)
    cut = min(max(cut, 10 * ts.PACKET), len(data))
    torn = data[:cut] + (b"" if fill == b"\x47" else fill * junk)
    assert timeline.whole_end(BytesSource(torn)) in range(
        cut // ts.PACKET * ts.PACKET, cut // ts.PACKET * ts.PACKET + ts.PACKET + 1
    )


@pytest.mark.parametrize("start", [0, ts.WRAP - 5 * FRAME_TICKS, ts.WRAP - 1])
def test_duration_counts_frames_across_the_wrap(start: int) -> None:
    data = Broadcast(5, start=start).window(0, 4)
    assert timeline.duration_ms(BytesSource(data)) == 5 * FRAMES_PER_SEGMENT * 1000 // 30


def test_duration_adds_nothing_where_the_clock_is_set_anew() -> None:
    one, two = Broadcast(5, start=9_000_000).window(0, 4), Broadcast(5, seed=2, start=10).window(0, 4)
    assert timeline.duration_ms(BytesSource(one + two), [len(one)]) == 10 * FRAMES_PER_SEGMENT * 1000 // 30


def test_media_are_all_counted_wherever_the_clock_was_set_anew() -> None:
    """Looking at both ends alone would miss what was before the clock was set back."""
    one, two = Broadcast(5, start=9_000_000).window(0, 4), Broadcast(5, seed=2, start=10).window(0, 4)
    for count in (timeline.counted_ms, timeline.duration_ms):
        assert count(BytesSource(one + two)) == 10 * FRAMES_PER_SEGMENT * 1000 // 30
        assert count(BytesSource(b"")) is None
