# SPDX-License-Identifier: GPL-3.0-or-later
"""What a new segment asks the source for, so that it meets the old one: its quality, and what that one has missed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from streamvaultd.core.recording.effects import Notice
from streamvaultd.reporting.announced import ENTRIES
from tests.fakes.livesource import LiveSource
from tests.fakes.media import OTHER_SIZE, ensure_media
from tests.integration.harness import SETTINGS, Ctl, configure, count, scopes
from tests.integration.stories import ends_well, told, wait_segments, wait_writing
from tests.testbed.box import Box

HASTY = """
[streamlink.options]
stream-segment-attempts = "3"
"""
"""A media segment is given up after two seconds, while it still is in the window."""

MASTER = "master"

# the first of them may have to wait until media are made
pytestmark = pytest.mark.timeout(1500)


@pytest.fixture(scope="module", autouse=True)
def larger_picture(source: LiveSource) -> None:
    """Made before any broadcast waits for it."""
    ensure_media(replace(source.spec, size=OTHER_SIZE))


@pytest.fixture(scope="module")
def box(boot: Callable[[str], Box]) -> Iterator[Box]:
    """One whose streamlink soon gives up."""
    booted = boot("meeting")
    configure(booted, SETTINGS + HASTY)
    booted.run(["systemctl", "restart", "streamvaultd"])
    try:
        yield booted
    finally:
        booted.close()


def kinds(ctl: Ctl, name: str) -> list[str]:
    """Of its seams."""
    return [seam["kind"] for seam in ctl.json("seams", name)]


def wait_qualities(box: Box, ctl: Ctl, name: str, wanted: list[str]) -> None:
    """Until it is known in which quality each segment records: the journal tells that a moment after the media."""
    box.wait_for(lambda: [segment.get("quality") for segment in ctl.segments(name)] == wanted, f"{name} in {wanted}")


def test_a_better_quality_that_comes_later_is_not_taken(box: Box, ctl: Ctl, source: LiveSource, channel: str) -> None:
    """ "best" is another one by then, and its bytes would meet those that there are in a gap."""
    ctl("record", source.url(channel, MASTER), "--name", "steady")
    source.control(channel, high=True)
    for number in (2, 3):
        ctl("rotate", "steady")
        wait_writing(box, ctl, "steady", number)
        box.wait_for(lambda: ctl.state("steady") == "recording", "it has taken over")
    wait_qualities(box, ctl, "steady", ["180p"] * 3)
    ends_well(box, ctl, source, channel, "steady")
    assert kinds(ctl, "steady") == ["exact", "exact"]


def test_a_quality_that_is_gone_is_replaced_by_what_was_asked_for(
    box: Box, ctl: Ctl, source: LiveSource, channel: str
) -> None:
    source.control(channel, high=True)
    ctl("record", source.url(channel, MASTER), "--name", "fallen")
    source.control(channel, high=False)
    ctl("rotate", "fallen")
    wait_writing(box, ctl, "fallen", 2)
    wait_qualities(box, ctl, "fallen", ["240p", "180p"])
    ctl("stop", "fallen")
    box.wait_for(lambda: ctl.state("fallen") == "stopped", "it is joined", timeout=60)


@pytest.mark.parametrize("fault", ["404", "cut"])
def test_a_hole_is_filled_by_the_next_segment_at_once(
    box: Box, ctl: Ctl, source: LiveSource, channel: str, fault: str
) -> None:
    """One media segment is not there, or breaks off, for longer than streamlink tries and less than the window."""
    name = f"holed-{fault}"
    ctl("record", source.url(channel), "--name", name)
    missing = source.state(channel)["last"] + 2
    source.control(channel, fault=fault, on="media", only=[missing])
    box.wait_for(lambda: len(ctl.segments(name)) == 2, "the next segment is on its way", timeout=60)
    source.control(channel, fault=None)
    wait_segments(box, ctl, name, ["rotated", None])
    assert source.state(channel)["first"] <= missing, "it came too late for this test"
    ends_well(box, ctl, source, channel, name)
    assert kinds(ctl, name) == ["union"]
    assert len(told(box, ENTRIES[Notice.MEDIA_MISSED], ctl.recording(name)["id"])) == 1


def test_what_the_source_itself_lacks_makes_no_chain(box: Box, ctl: Ctl, source: LiveSource, channel: str) -> None:
    """Each segment that tries says that it has missed it; one further segment is enough."""
    ctl("record", source.url(channel), "--name", "lacking")
    missing = source.state(channel)["last"] + 2
    source.control(channel, fault="404", on="media", only=[missing])
    recording = ctl.recording("lacking")["id"]
    box.wait_for(lambda: len(missed(box, recording, missing)) == 2, "both segments have missed it", timeout=60)
    wait_segments(box, ctl, "lacking", ["rotated", None])
    source.control(channel, end=True)
    box.wait_for(lambda: ctl.state("lacking") == "completed", "it is joined", timeout=60)
    frames = count(box, ctl.recording("lacking")["runtime"]["path"], source, channel, first_segment=0)
    lost = source.channels[channel].media.index("video").starts[missing : missing + 2]
    assert (frames.lost, frames.repeated, frames.disordered) == (tuple(range(*lost)), 0, 0)
    assert len(ctl.segments("lacking")) == 2
    assert len(told(box, ENTRIES[Notice.MEDIA_MISSED], recording)) == 1


def missed(box: Box, recording: int, number: int) -> list[str]:
    """What the segments of a recording say of a media segment that they could not fetch."""
    entries = box.journal("SYSLOG_IDENTIFIER=streamlink", f"STREAMVAULT_RECORDING={recording}")
    lines = [entry["MESSAGE"] for entry in entries]
    return [line for line in lines if re.search(rf"(?:Failed to fetch|Download of) segment {number}\b", line)]


def test_separate_audio_is_rotated_without_waiting_for_the_limit(
    box: Box, ctl: Ctl, source: LiveSource, channel: str
) -> None:
    """Each capture has packets of its own, and still the overlap is proven."""
    source.control(channel, kind="separate")
    ctl("record", source.url(channel, MASTER), "--name", "muxed")
    ctl("rotate", "muxed")
    wait_segments(box, ctl, "muxed", ["rotated", None])
    assert told(box, ENTRIES[Notice.OVERLAP_UNPROVEN], ctl.recording("muxed")["id"]) == []
    source.control(channel, end=True)
    box.wait_for(lambda: ctl.state("muxed") == "completed", "it is joined", timeout=60)
    assert kinds(ctl, "muxed") == ["exact"]
    frames = count(box, ctl.recording("muxed")["runtime"]["path"], source, channel, first_segment=0)
    assert frames.is_perfect, frames


PLAYER = """#!/bin/sh
exec ffmpeg -nostdin -v error -live_start_index 0 -i "$1" -map 0:v -fps_mode passthrough -f framemd5 /run/viewer/shown
"""


def test_a_recording_is_played_while_it_is_rotated_and_killed(
    box: Box, ctl: Ctl, source: LiveSource, channel: str, tmp_path: Path
) -> None:
    """By a user who may read recordings and nothing else of the daemon's: every picture once, up to the end."""
    box.run(["useradd", "--system", "--groups", "_streamvault", "viewer"])
    box.write_file("/usr/local/bin/player", PLAYER)
    box.run(["chmod", "755", "/usr/local/bin/player"])
    ctl("record", source.url(channel), "--name", "played")
    wait_writing(box, ctl, "played", 1)
    options = ["--uid=viewer", "--property=RuntimeDirectory=viewer", "--property=RuntimeDirectoryPreserve=yes"]
    command = ["streamvaultctl", "play", "played", "--player", "/usr/local/bin/player"]
    box.run(["systemd-run", "--unit=viewer", "--remain-after-exit", *options, *command])
    for number in (2, 4):
        ctl("rotate", "played")
        wait_writing(box, ctl, "played", number)
        box.wait_for(lambda: ctl.state("played") == "recording", "it has taken over", timeout=60)
        box.run(["systemctl", "kill", "--signal=KILL", scopes(box)[-1]])
        wait_writing(box, ctl, "played", number + 1)
    ends_well(box, ctl, source, channel, "played")

    def state() -> str:
        return box.run(["systemctl", "show", "--property=SubState", "--value", "viewer"]).stdout.strip()

    box.wait_for(lambda: state() != "running", "the player has seen the end", timeout=90)
    assert state() == "exited"
    shown = box.fetch("/run/viewer/shown", tmp_path / "shown").read_text().splitlines()
    index = source.channels[channel].media.index("video")
    numbers = [index.numbers[line.split(",")[5].strip()] for line in shown if not line.startswith("#")]
    assert numbers == list(range(index.starts[source.state(channel)["last"] + 1]))
    assert box.run(
        ["runuser", "-u", "viewer", "--", "cat", "/var/lib/streamvaultd/streamvaultd.sqlite"], check=False
    ).returncode
