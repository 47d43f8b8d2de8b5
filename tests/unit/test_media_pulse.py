# SPDX-License-Identifier: GPL-3.0-or-later
"""How far the streams of a growing file have come, look by look."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamvaultd.core.flows import Flow, Pulse, observed, standing
from streamvaultd.core.names import Run
from streamvaultd.jobs.looks import Looks
from streamvaultd.media import ts
from streamvaultd.media.pulse import TAIL, Cursor, look
from tests.fakes.memory import BytesSource
from tests.unit.test_media_fragments import AUDIO_SCALE, SCALE, box, fragment, header, muxed, number, traf
from tests.unit.test_media_programs import AAC, H264, ID3, OTHER, SOUND, TABLE, VIDEO, packet, tables
from tests.unit.test_media_transport import _pes

AC3 = 0x81
STREAM_IDS = {VIDEO: 0xE0, SOUND: 0xC0, OTHER: 0xBD}
FILLING = (b"\x47\x1f\xff\x10".ljust(ts.PACKET, b"\xff")) * 6000


def unit(pid: int, seconds: float) -> bytes:
    return packet(pid, _pes(STREAM_IDS[pid], round(seconds * 90_000) % ts.WRAP, None, b"x" * 20))


def second(at: int, *pids: int, rate: int = 5, named: bytes = tables((VIDEO, H264), (SOUND, AAC))) -> bytes:
    """A second of these streams, some units of each."""
    return named + b"".join(unit(pid, at + n / rate) for n in range(rate) for pid in pids)


def grown(*pieces: bytes) -> list[dict[int, tuple[int | None, int, float]]]:
    """(stamp, units, pause) of each stream, in a look after each piece."""
    cursor, data, found = Cursor(), b"", []
    for piece in pieces:
        data += piece
        pulses = look(BytesSource(data), cursor)
        found.append({pulse.stream: (pulse.stamp, pulse.units, round(pulse.pause, 3)) for pulse in pulses})
    return found


def watched(*pieces: bytes, step: float = 10.0) -> list[tuple[Flow, ...]]:
    """Those that stand still, in a look every so many seconds."""
    cursor, data, flows, found = Cursor(), b"", tuple[Flow, ...](), []
    for index, piece in enumerate(pieces):
        data += piece
        pulses = [Pulse(**each._asdict()) for each in look(BytesSource(data), cursor)]
        flows = observed(flows, pulses, index * step)
        found.append(standing(flows))
    return found


def test_each_look_tells_what_came_since_the_last_one() -> None:
    first, then, none = grown(second(0, VIDEO, SOUND), second(1, VIDEO), b"")
    assert first == {VIDEO: (72_000, 5, 0.2), SOUND: (72_000, 5, 0.2)}
    assert then == {VIDEO: (162_000, 5, 0.2), SOUND: (None, 0, 0.0)}
    assert none == {VIDEO: (None, 0, 0.0), SOUND: (None, 0, 0.0)}


def test_a_clock_goes_round() -> None:
    wrap = ts.WRAP / 90_000
    found = grown(*(tables((VIDEO, H264)) + unit(VIDEO, wrap - 1 + n) for n in range(3)))
    assert [pause for each in found for _, _, pause in each.values()] == [0.0, 1.0, 1.0]


def test_pictures_in_which_a_look_begins_are_measured_from_those_before() -> None:
    assert grown(second(0, VIDEO), second(4, VIDEO))[1][VIDEO] == (432_000, 5, 3.2)


def test_only_the_end_is_read_and_a_little_more_for_a_stream_that_is_not_there() -> None:
    class Counted(BytesSource):
        read_bytes = 0

        def read(self, offset: int, length: int) -> bytes:
            Counted.read_bytes += length
            return super().read(offset, length)

    cursor = Cursor()
    data = second(0, VIDEO, SOUND)
    look(BytesSource(data), cursor)
    data += FILLING * 8 + second(1, VIDEO, SOUND)
    look(Counted(data), cursor)
    assert Counted.read_bytes <= TAIL + ts.PACKET
    data += second(2, SOUND) + FILLING + second(3, VIDEO)
    assert {pulse.stream: pulse.stamp for pulse in look(BytesSource(data), cursor)}[SOUND] == round(2.8 * 90_000)


@pytest.mark.parametrize("torn", [0, 1, 100, 187])
def test_a_file_that_ends_inside_of_a_packet_is_read_on_there(torn: int) -> None:
    data = second(0, VIDEO, SOUND) + second(1, VIDEO, SOUND)
    cursor, cut = Cursor(), len(data) // 2 + torn
    look(BytesSource(data[:cut]), cursor)
    assert {pulse.stamp for pulse in look(BytesSource(data), cursor)} == {162_000}


def test_sound_that_ends_while_pictures_go_on_stands_still() -> None:
    found = watched(*(second(n, VIDEO, *([SOUND] if n < 5 else [])) for n in range(10)))
    assert [[flow.stream for flow in still] for still in found[-3:]] == [[SOUND]] * 3
    assert not any(found[:6])


def test_rare_data_and_slow_pictures_do_not_stand_still() -> None:
    """Timed ID3 and cues (SCTE 35, subtitles) come when there is something to say; a slow camera every 4 s."""
    named = tables((VIDEO, H264), (SOUND, AAC), (OTHER, ID3))
    pieces = [
        second(n, SOUND, *([VIDEO] if n % 4 == 0 else []), *([OTHER] if n in (0, 1) else []), rate=1, named=named)
        for n in range(60)
    ]
    assert not any(watched(*pieces, step=1.0))


def test_streams_that_the_table_names_no_more_are_gone() -> None:
    """As in an advertisement, whose streams have other names; and none is missed when those are back."""
    other = tables((OTHER, AC3), at=TABLE + 1)
    pieces = [second(n, VIDEO, SOUND) for n in range(4)]
    pieces += [second(n, OTHER, named=other) for n in range(4, 12)]
    pieces += [second(n, VIDEO, SOUND) for n in range(12, 16)]
    assert not any(watched(*pieces))
    assert [set(each) for each in grown(*pieces)][::5] == [{VIDEO, SOUND}, {OTHER}, {OTHER}, {VIDEO, SOUND}]


def sound_alone(index: int) -> bytes:
    sound = [1000] * (AUDIO_SCALE * 2 // 1000)
    return box(b"moof", box(b"mfhd", bytes(4), number(index)), traf(2, index * 2 * AUDIO_SCALE, sound)) + box(b"mdat")


def test_fragments_tell_by_track() -> None:
    first, torn, then = grown(muxed([0, 1, 2]), fragment(3)[:-10], fragment(3)[-10:] + sound_alone(4))
    assert first == {1: (6 * SCALE, 3, 2.0), 2: (6 * AUDIO_SCALE, 3, 2.0)}
    assert torn == {1: (None, 0, 0.0), 2: (None, 0, 0.0)}
    assert then == {1: (8 * SCALE, 1, 2.0), 2: (10 * AUDIO_SCALE, 2, 2.0)}


def test_pictures_that_end_in_fragments_stand_still() -> None:
    pieces = [header() + fragment(0), *map(fragment, range(1, 5)), *map(sound_alone, range(5, 10))]
    found = watched(*pieces)
    assert [[flow.is_video for flow in still] for still in found[-3:]] == [[True]] * 3


@pytest.mark.parametrize(
    ("data", "unfit"),
    [
        (second(0, VIDEO, SOUND), None),
        (header() + fragment(0), None),
        (b"\x1a\x45\xdf\xa3" + bytes(400), "it comes as Matroska"),
        (bytes(400), "its format is not known"),
    ],
)
def test_what_cannot_become_an_mp4_is_known_at_once(tmp_path: Path, data: bytes, unfit: str | None) -> None:
    looks = Looks()
    (tmp_path / "media").write_bytes(data)
    pulses, why = looks.look(Run(1, 1), tmp_path / "media")
    assert why == unfit
    assert bool(pulses) is (unfit is None)
    looks.forget(Run(1, 1))


def test_a_file_that_is_not_there_is_an_answer(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        Looks().look(Run(1, 1), tmp_path / "gone")
