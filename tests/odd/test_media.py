# SPDX-License-Identifier: GPL-3.0-or-later
"""The media, what is done to them, and that the same seed gives the same sources."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import chain
from pathlib import Path

from tests.fakes.ffmpeg import run
from tests.odd.change import counted_anew, shown_late, without_pictures
from tests.odd.clips import Spec, ensure_clip
from tests.odd.draw import draw
from tests.odd.look import look
from tests.odd.tables import with_data, with_program

SHORT = Spec(seconds=6, b_frames=2)


def whole(spec: Spec, tmp_path: Path, times: int = 1) -> Path:
    """All of a clip as one file, as a capture would write it."""
    clip = ensure_clip(spec)
    file = tmp_path / f"file{spec.suffix}"
    init = clip.init.read_bytes() if clip.init else b""
    media = b"".join(clip.path(index).read_bytes() for index in range(clip.count))
    file.write_bytes(init + media * times)
    return file


def test_each_container_has_all_that_is_in_the_media_segments(tmp_path: Path) -> None:
    for kind in ("ts", "fmp4"):
        spec = Spec(seconds=6, kind=kind)
        digests = ensure_clip(spec).digests
        assert look(whole(spec, tmp_path)).digests == {name: list(chain(*digests[name])) for name in "va"}
        assert [len(part) for part in digests["v"]] == [50, 50, 50]


def test_what_comes_again_with_the_same_clock_is_seen_again(tmp_path: Path) -> None:
    found = look(whole(Spec(seconds=6, kind="fmp4"), tmp_path, times=3))
    assert set(Counter(found.digests["v"]).values()) == {3}


def test_the_same_fragment_twice_in_a_row_is_seen_twice(tmp_path: Path) -> None:
    """As where a slate is cut out of, and begins anew: its clock stands still then."""
    clip, file = ensure_clip(Spec(seconds=6, kind="fmp4")), tmp_path / "file.m4s"
    assert clip.init is not None
    order = (0, 1, 1, 2, 2, 0)
    file.write_bytes(b"".join([clip.init.read_bytes(), *(clip.path(index).read_bytes() for index in order)]))
    assert look(file).digests == {kind: [one for at in order for one in clip.digests[kind][at]] for kind in "va"}


def test_what_is_done_to_the_bytes_leaves_the_pictures(tmp_path: Path) -> None:
    clip, changed = ensure_clip(SHORT), tmp_path / "changed.ts"
    data = clip.path(1).read_bytes()
    for change in (counted_anew, shown_late(3, 2.5)):
        changed.write_bytes(change(data))
        assert changed.read_bytes() != data
        assert Counter(look(changed).digests["v"]) == Counter(clip.digests["v"][1])
    changed.write_bytes(without_pictures(data))
    assert look(changed).digests == {"v": [], "a": clip.digests["a"][1]}


def test_equal_seeds_give_equal_sources() -> None:
    first, again, fewer, other = draw(3, 4), draw(3, 4), draw(3, 2), draw(4, 4)
    assert list(map(str, first)) == list(map(str, again))
    assert list(map(str, first[:2])) == list(map(str, fewer))
    assert [take.faults for take in first] != [take.faults for take in other]


def test_what_is_added_leaves_the_rest_and_has_its_streams(tmp_path: Path) -> None:
    clip, other = ensure_clip(SHORT), ensure_clip(replace(SHORT, tracks="a", look=5))
    changed = tmp_path / "changed.ts"
    changed.write_bytes(b"".join(with_data(number)(clip.path(number).read_bytes()) for number in range(clip.count)))
    assert look(changed).digests == {kind: list(chain(*clip.digests[kind])) for kind in "va"}
    assert {"timed_id3", "h264", "aac"} <= streams(changed)
    both = [with_program(other.path(number).read_bytes()) for number in range(clip.count)]
    changed.write_bytes(b"".join(change(clip.path(number).read_bytes()) for number, change in enumerate(both)))
    assert look(changed).digests["a"] == list(chain(*clip.digests["a"], *other.digests["a"]))


def streams(file: Path) -> set[str]:
    """The names of the codecs."""
    shown = run("-show_entries", "stream=codec_name", "-of", "csv=p=0", file, command="ffprobe").stdout
    return set(shown.replace(",", "\n").split())
