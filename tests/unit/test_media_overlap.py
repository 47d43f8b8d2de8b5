# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a newer capture may take over while both files grow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from streamvaultd.media import overlap, ts
from streamvaultd.media.overlap import overlap_proven
from streamvaultd.media.places import HEAD
from tests.unit.test_media_seam import LIVE, SLATE, capture
from tests.unit.test_media_transport import fragments

if TYPE_CHECKING:
    from pathlib import Path


def look(folder: Path, older: bytes, newer: bytes) -> bool:
    """One look at files that hold these."""
    (folder / "older").write_bytes(older)
    (folder / "newer").write_bytes(newer)
    with (folder / "older").open("rb") as mine, (folder / "newer").open("rb") as yours:
        return overlap_proven(mine.fileno(), yours.fileno())


@pytest.mark.parametrize(
    ("older", "newer", "proven"),
    [
        ((0, 9), (6, 12), True),
        ((0, 9), (6, 6), True),
        ((0, 5), (6, 12), False),
        ((0, 9), (6, 5), False),
    ],
)
def test_overlap_is_proven_by_bytes(
    tmp_path: Path, older: tuple[int, int], newer: tuple[int, int], *, proven: bool
) -> None:
    assert look(tmp_path, LIVE.window(*older), LIVE.window(*newer)) is proven


def test_overlap_is_seen_the_moment_the_older_has_the_head_of_the_newer(tmp_path: Path) -> None:
    """Both files grow by odd pieces, as two captures write them."""
    live = LIVE.window(0, 12)
    head = len(LIVE.window(0, 5))
    with (tmp_path / "older").open("w+b", 0) as older, (tmp_path / "newer").open("w+b", 0) as newer:
        for at in range(0, len(live), 1111):
            older.write(live[at : at + 1111])
            newer.write(live[head + at // 2 : head + (at + 1111) // 2])
            reached = min(at + 1111 - head, (at + 1111) // 2)
            # a few units prove it as well as the head does
            if not 0 < reached < HEAD:
                assert overlap_proven(older.fileno(), newer.fileno()) is (reached >= HEAD)


@pytest.mark.parametrize(
    ("older", "newer", "proven"),
    [
        ([0, 1, 2, 3, 5, 6], [3, 4, 5, 6], True),  # the newer fills the hole, and has all behind it
        ([0, 1, 2, 3, 5, 6], [3, 4, 5, 6, 7], True),
        ([0, 1, 2, 3, 4, 5, 6], [3, 5, 6], True),  # the older has what the newer lacks
        ([0, 1, 2, 3, 4, 5, 6, 7], [3, 5, 6], True),
        ([0, 1, 2, 3, 5, 6], [3, 4], False),  # the newer does not have what is behind the hole yet
        ([0, 1, 2, 3], [3, 4, 5], True),
        ([0, 1, 2], [3, 4, 5], False),
    ],
)
@pytest.mark.parametrize("torn", [0, 100])
def test_a_hole_is_no_obstacle_once_both_have_come_to_the_same_end(
    tmp_path: Path, older: list[int], newer: list[int], torn: int, *, proven: bool
) -> None:
    mine, yours = capture(LIVE, older), capture(LIVE, newer)
    assert look(tmp_path, mine[: len(mine) - torn], yours) is proven


def test_in_fragmented_mp4_too(tmp_path: Path) -> None:
    init, *parts = fragments(8)
    older = b"".join([init, *parts[:3], *parts[4:6]])
    assert look(tmp_path, older, b"".join([init, *parts[2:6]]))
    assert look(tmp_path, older, b"".join([init, *parts[2:8]]))
    assert not look(tmp_path, older, b"".join([init, *parts[2:4]]))


def test_media_that_both_have_elsewhere_prove_nothing(tmp_path: Path) -> None:
    """Filling is alike everywhere: the end of a capture must have a timestamp in it."""
    filling = (b"\x47\x1f\xff\x10".ljust(ts.PACKET, b"\xff")) * 40
    older = capture(LIVE, [0, 1, 2, 3]) + filling + capture(LIVE, [5]) + filling
    assert not look(tmp_path, older, capture(LIVE, [3, 4]) + filling)


def test_a_head_that_is_filling_alone_is_looked_for_where_all_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What fills a stream up to its bit rate comes again with the same counters, further away than a slate does."""
    monkeypatch.setattr(overlap, "REPEAT_MAX", HEAD)
    filling = b"".join((b"\x47\x1f\xff\x10" + bytes([number])).ljust(ts.PACKET, b"\xff") for number in range(32))
    parts = [filling + capture(LIVE, [number]) for number in range(5)]
    assert look(tmp_path, b"".join(parts[:4]), parts[1] + parts[2][:HEAD])
    assert look(tmp_path, b"".join(parts[:4]), b"".join(parts[1:]))
    assert not look(tmp_path, b"".join(parts[:3]), b"".join(parts[3:]))


def test_media_that_repeat_themselves_prove_nothing_until_others_come(tmp_path: Path) -> None:
    """A slate: nothing tells which of them the newer begins with."""
    older = LIVE.window(0, 9) + 4 * SLATE
    for count in (1, 2, 5):
        assert not look(tmp_path, older, count * SLATE)
    assert not look(tmp_path, LIVE.window(0, 9) + SLATE, 2 * SLATE)
    assert not look(tmp_path, older + LIVE.window(10, 11), 2 * SLATE)
    assert look(tmp_path, older + LIVE.window(10, 11), 2 * SLATE + LIVE.window(10, 12))
    assert look(tmp_path, older + LIVE.window(10, 12), 2 * SLATE + LIVE.window(10, 11))
