# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of watched broadcasts on a real systemd: too short ones go, and each show has a file of its own."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import pytest

from tests.fakes.livesource import LiveSource
from tests.integration.harness import SETTINGS, Ctl, configure
from tests.integration.test_watch import WATCH, Watched, pass_segments
from tests.testbed.box import Box
from tests.testbed.frames import FrameCount, count_frames

RECORDINGS = "/var/lib/streamvaultd/recordings"


@pytest.fixture(scope="module", autouse=True)
def _watching(box: Box) -> None:
    configure(box, SETTINGS + WATCH)
    box.run(["systemctl", "restart", "streamvaultd"])


def files(box: Box, name: str) -> list[str]:
    """What is in a streamer's folder, manifests apart."""
    found = box.run(["find", f"{RECORDINGS}/{name}", "-type", "f", "-not", "-name", ".stream_*.json*"], check=False)
    return found.stdout.split()


def frames_of(watched: Watched, recording: int, source: LiveSource, last: int) -> FrameCount:
    """The frames of a joined file, from its own first one to a media segment of the channel."""
    path = watched.recordings()[recording]["runtime"]["path"]
    with tempfile.TemporaryDirectory() as folder:
        fetched = watched.box.fetch(path, Path(folder) / "fetched.ts")
        return count_frames(fetched, source.channels[watched.name].media, last_segment=last)


NAMED = "{streamer}: {start:%Y-%m-%d %H.%M} ({quality}) {title}"
ITS_NAME = re.compile(RECORDINGS + r"/erin/erin_ \d{4}-\d\d-\d\d \d\d\.\d\d \([a-z0-9]+\)(?: \(2\))?\.ts")
"""With a number if the one that was too short had begun in the same minute."""
"""The site of this source tells no title, and NTFS takes no colon."""


def test_a_broadcast_that_is_too_short_leaves_its_row_and_a_longer_one_a_file(box: Box, source: LiveSource) -> None:
    erin = Watched(box, source, "erin")
    url = source.url("erin")
    file = f'[streamer]\nurl = "{url}"\n[recording]\nmin_duration = "20s"\nfilename = "{NAMED}"\n'
    box.write_file("/etc/streamvaultd/streamers.d/erin.toml", file)
    box.run(["systemctl", "reload", "streamvaultd"])
    erin.wait("offline")
    tried = source.go_live("erin")
    erin.wait("recording")
    pass_segments(box, tried, 2)
    source.control("erin", end=True)
    erin.wait_completed(1)
    (recording,) = erin.recordings()
    assert "path" not in recording["runtime"]
    assert recording["runtime"]["detail"].startswith("not kept: ")
    assert "min_duration is 20 s" in recording["runtime"]["detail"]
    box.wait_for(lambda: files(box, "erin") == [], "its media are gone")
    kinds = [event["kind"] for event in erin.ctl.json("events", str(recording["id"]))]
    assert [kind for kind in kinds if kind in ("not-kept", "media-discarded")] == ["not-kept", "media-discarded"]
    erin.ctl("check")
    erin.wait("offline")
    meant = source.go_live("erin")
    erin.wait("recording")
    box.wait_for(lambda: meant.last() >= 11, "it is long enough", timeout=90)
    source.control("erin", end=True)
    erin.wait_completed(2)
    erin.lose_nothing(erin.recordings()[1], meant)
    assert ITS_NAME.fullmatch(erin.recordings()[1]["runtime"]["path"])
    box.run(["rm", "/etc/streamvaultd/streamers.d/erin.toml"])
    box.run(["systemctl", "reload", "streamvaultd"])


def test_two_shows_in_one_window_are_two_files_each_with_its_own_frames(box: Box, source: LiveSource) -> None:
    frank = Watched(box, source, "frank")
    frank.add()
    frank.wait("offline")
    shows = source.go_live("frank")
    frank.wait("recording")
    pass_segments(box, shows, 4)
    source.control("frank", end=True)
    end = shows.last()
    frank.wait_completed(1)
    frank.wait("offline")
    source.control("frank", again=True)
    frank.wait("recording")
    pass_segments(box, shows, 4)
    source.control("frank", end=True)
    frank.wait_completed(2)
    first, second = frames_of(frank, 0, source, end), frames_of(frank, 1, source, shows.last())
    assert (first.is_perfect, first.first) == (True, 0), first
    assert (second.is_perfect, second.first) == (True, (end + 1) * shows.media.frames_per_segment), second
    assert "it is the end of frank_" in frank.ctl("status", str(frank.recordings()[1]["id"])).stdout
    frank.ctl("check")
    frank.ctl("remove", "frank")


def test_what_is_kept_outlives_a_prune_and_a_restart(box: Box, ctl: Ctl) -> None:
    """The last show of the test before."""
    shown = ctl.json("list", "frank")[0]
    number, path = str(shown["id"]), shown["runtime"]["path"]
    assert "is marked to be kept" in ctl("keep", number).stderr
    box.run(["systemctl", "restart", "streamvaultd"])
    assert [str(each["id"]) for each in ctl.json("list", "--kept")] == [number]
    refused = ctl("prune", number, check=False)
    assert refused.returncode == 1
    assert f"kept    recording {number} of 'frank': " in refused.stdout
    assert box.path(path).exists()
    assert "Kept: yes" in ctl("status", number).stdout
    assert "is not marked to be kept" in ctl("unkeep", number).stderr
    assert ctl.json("list", "--kept") == []
    assert path in ctl("prune", number).stdout
    assert not box.path(path).exists()
    gone = ctl("keep", number, check=False)
    assert (gone.returncode, f"cannot mark recording {number} to be kept" in gone.stderr) == (1, True)
    ctl("check")
