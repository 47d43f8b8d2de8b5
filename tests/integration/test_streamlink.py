# SPDX-License-Identifier: GPL-3.0-or-later
"""The streamlink of Debian 13 and the newest one: both record, and one is exchanged for the other while recording."""

from __future__ import annotations

from tests.fakes.livesource import LiveSource
from tests.integration.harness import Ctl, count
from tests.testbed.box import Box


def record_some(box: Box, ctl: Ctl, source: LiveSource, channel: str, name: str) -> None:
    """A rotation, a death and an end; every frame is there once."""
    ctl("record", source.url(channel), "--name", name)
    ctl("rotate", name, "--wait")
    shim = ctl.segments(name)[1]["pid"]
    box.run(["pkill", "-KILL", "--parent", str(shim)])
    box.wait_for(lambda: len(s := ctl.segments(name)) == 3 and s[2]["phase"] == "writing", "a replacement")
    source.control(channel, end=True)
    box.wait_for(lambda: ctl.state(name) == "completed", "it is joined", timeout=60)
    frames = count(box, ctl.recording(name)["runtime"]["path"], source, channel, first_segment=0)
    assert frames.is_perfect, frames


def test_streamlink_of_debian_and_the_newest(box: Box, ctl: Ctl, source: LiveSource, channel: str) -> None:
    debian = ctl.json("streamlink", "status")
    assert (debian["managed"], debian["version"]) == (False, "7.3.0")
    assert "Twitch" in debian["warning"]
    record_some(box, ctl, source, f"{channel}-old", "old")

    # the running segment keeps its own, what starts next takes the new one
    ctl("record", source.url(f"{channel}-both"), "--name", "both")
    newest = ctl.json("streamlink", "install", timeout=300)
    assert newest["managed"]
    assert tuple(int(part) for part in newest["version"].split(".")) >= (8, 6, 0)
    assert newest.get("warning") is None
    commands = box.run(["ps", "-eo", "args"]).stdout
    assert "/usr/bin/streamlink --config" in commands
    ctl("rotate", "both", "--wait")
    box.wait_for(lambda: "endedAt" in ctl.segments("both")[0], "the old segment has ended")
    assert newest["command"] in box.run(["ps", "-eo", "args"]).stdout
    source.control(f"{channel}-both", end=True)
    box.wait_for(lambda: ctl.state("both") == "completed", "it is joined", timeout=60)
    frames = count(box, ctl.recording("both")["runtime"]["path"], source, f"{channel}-both", first_segment=0)
    assert frames.is_perfect, frames

    record_some(box, ctl, source, f"{channel}-new", "new")
    box.run(["systemctl", "restart", "streamvaultd"])
    assert ctl.json("streamlink", "status")["version"] == newest["version"]


def test_a_version_that_does_not_exist_changes_nothing(box: Box, ctl: Ctl) -> None:
    before = ctl.json("streamlink", "status")
    refused = ctl("streamlink", "install", "0.0.1", check=False, timeout=300)
    assert refused.returncode == 1, refused.stdout
    assert "cannot install streamlink 0.0.1" in refused.stderr
    assert "its checksums are not known" in refused.stderr
    refused = ctl("streamlink", "install", "0.0.1", "--no-hashes", check=False, timeout=300)
    assert refused.returncode == 1, refused.stdout
    assert ctl.json("streamlink", "status") == before
