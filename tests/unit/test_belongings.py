# SPDX-License-Identifier: GPL-3.0-or-later
"""What a step can have made of a result, and all that is somebody else's."""

from __future__ import annotations

from pathlib import PurePath

import pytest

from streamvaultd.jobs.after.belongings import belongs

RESULT = PurePath("/rec/alice/show.ts")


@pytest.mark.parametrize(
    "name",
    [
        "show-thumb.jpg", "show.nfo", "show.part2.nfo", "show.kept3-1-thumb.jpg", "show.trickplay/320 - 10x10/0.jpg",
        "show.part12.trickplay/320 - 10x10/3.jpg",
    ],
)  # fmt: skip
def test_a_step_makes_what_has_the_name_of_its_result(name: str) -> None:
    assert belongs(RESULT.parent / name, RESULT)


@pytest.mark.parametrize(
    "name",
    [
        "", "show.ts", "show.part2.ts", "show.kept1.ts", "show.mp4", "show.mkv", "other.nfo", "show (2).ts",
        "show (2).nfo", "show (2)-thumb.jpg", "showing.nfo", "stream_3_segments/segment_001.ts", ".stream_3.json",
        ".after_7_nfo/1.nfo", "../bob/show.nfo", "show.trickplay/../../bob/show.nfo", "l/show.nfo", "/etc/passwd",
        "show", "show/x.jpg", "show-x/y.jpg", "show.nfo\0", "show.\ud800/x", "show.t" + "/x" * 9,
    ],
)  # fmt: skip
def test_nothing_else_is_made_of_it(name: str) -> None:
    assert not belongs(RESULT.parent / name, RESULT)


@pytest.mark.parametrize("name", ["tvshow.nfo", "season.nfo"])
def test_the_shows_files_go_with_none_of_its_recordings(name: str) -> None:
    assert not belongs(RESULT.parent / name, RESULT.with_name(PurePath(name).stem + ".ts"))


@pytest.mark.parametrize("result", [".stream_3.ts", "stream_3.ts", ".after_7_nfo.ts", "."])
def test_no_result_has_the_daemons_files(result: str) -> None:
    for name in (".stream_3.json", "stream_3_segments/segment_001.ts", ".after_7_nfo/x.nfo"):
        assert not belongs(RESULT.parent / name, RESULT.with_name(result) if result != "." else PurePath("/rec/alice"))
