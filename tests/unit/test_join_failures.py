# SPDX-License-Identifier: GPL-3.0-or-later
"""What cannot be joined, and whether a later try could have another end."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.test_join import LIVE, Job
from tests.unit.test_media_transport import fragments


@pytest.mark.parametrize(
    ("segments", "why"),
    [
        ((b"",), "no segment holds any media"),
        ((fragments(3)[0],), "no segment holds any media"),
    ],
)
def test_what_cannot_be_joined_is_reported(tmp_path: Path, segments: tuple[bytes, ...], why: str) -> None:
    job = Job(tmp_path, *segments)
    report = job.run()
    assert not report["ok"]
    assert report["error"].startswith("cannot join recording 348: ")
    assert why in report["error"]
    assert report["forGood"]
    assert not (tmp_path / "joined").exists()


def test_nothing_is_given_up_for_good_while_a_segment_is_away(tmp_path: Path) -> None:
    """Its file system is not mounted, say."""
    job = Job(tmp_path, b"", LIVE.window(0, 9))
    away = job.spec.segments[1].rename(tmp_path / "elsewhere")
    report = job.run()
    assert (report["ok"], report["forGood"]) == (False, False)
    away.rename(job.spec.segments[1])
    assert job.run()["ok"]
