# SPDX-License-Identifier: GPL-3.0-or-later
"""The incident this program was written after, and the rules that were drawn from it.

A recorder kept its children in a dictionary. One died of an OOM kill, nobody waited for it, and from then on the
rotation failed every ten minutes for days: the process was not there to be polled, so no new segment was started,
nothing was joined, and nothing else of that streamer was recorded. Each of its scenarios, and each rule of its
checklist that can be seen from outside, is a test here. The OOM kill proper is in tests/vm/test_seed_scenarios.py.
"""

from __future__ import annotations

import json

import pytest

from streamvaultd.core.recording.effects import Notice
from streamvaultd.reporting.announced import ENTRIES
from tests.fakes.livesource import LiveSource
from tests.integration.harness import Ctl, configure, scopes, streamlink_pid
from tests.integration.stories import (
    causes,
    ends_well,
    files_of,
    kill,
    main_pid,
    process_state,
    rotation_due,
    told,
    wait_gone,
    wait_instant,
    wait_process_state,
    wait_scopes,
    wait_segments,
    wait_writing,
)
from tests.testbed.box import Box

RECORDINGS = "/var/lib/streamvaultd/recordings"
# A day is ten seconds here.
SETTINGS = """
[recording]
grace = "2s"
start_timeout = "30s"
stall_timeout = "25s"
[rotation]
age = "10s"
overlap_limit = "5s"
"""
ROTATED = ENTRIES[Notice.ROTATION_DONE]
GONE_ON = ENTRIES[Notice.ROTATION_GONE_ON]
DIED = ENTRIES[Notice.SEGMENT_DIED]
DOMAIN_RULE = "SELECT status, recording_path FROM recordings WHERE id = ?"


@pytest.fixture(scope="module", autouse=True)
def short_days(box: Box) -> None:
    """Segments are rotated at the age of ten seconds."""
    configure(box, SETTINGS)
    box.run(["systemctl", "restart", "streamvaultd"])


@pytest.fixture
def recording(ctl: Ctl, source: LiveSource, channel: str) -> int:
    """A recording of this test's channel, under its name."""
    ctl("record", source.url(channel), "--name", channel)
    number: int = ctl.recording(channel)["id"]
    return number


def unit(recording: int, number: int) -> str:
    return f"streamvault-{recording}-{number:03d}.scope"


# --- the scenarios -------------------------------------------------------------------------------------------------


def test_scenario_1_normal_rotation(box: Box, ctl: Ctl, source: LiveSource, channel: str, recording: int) -> None:
    """Scenario 1, the process is alive when its time has come; and the steps by which that was to be validated."""
    wait_segments(box, ctl, channel, ["rotated", None])
    assert told(box, ROTATED, recording)[0].startswith("Successfully rotated to segment 002")
    folder = f"{RECORDINGS}/{channel}/stream_{ctl.recording(channel)['stream']}_segments"
    files = files_of(box, folder)
    assert {"segment_001.ts", "segment_002.ts"} <= files.keys()
    assert all(files[name] > 0 for name in ("segment_001.ts", "segment_002.ts"))
    ends_well(box, ctl, source, channel, channel)
    # what follows a recording was done: joined, the row says so, the segments are gone
    result = ctl.recording(channel)["runtime"]["path"]
    assert row(box, recording) == ["completed", result]
    box.wait_for(lambda: files_of(box, f"{RECORDINGS}/{channel}").keys() == {result.rpartition("/")[2]}, "tidied up")
    story = [entry["MESSAGE"] for entry in box.journal(f"STREAMVAULT_RECORDING={recording}")]
    assert not any("Traceback" in message or "ProcessLookupError" in message for message in story)


def row(box: Box, recording: int) -> list[str]:
    """What the database says of a recording."""
    script = (
        "import json, sqlite3; "
        "database = sqlite3.connect('file:/var/lib/streamvaultd/streamvaultd.sqlite?mode=ro', uri=True); "
        f"print(json.dumps(database.execute({DOMAIN_RULE!r}, [{recording}]).fetchone()))"
    )
    found: list[str] = json.loads(box.run(["python3", "-c", script]).stdout)
    return found


def test_scenario_2_dead_before_the_rotation(
    box: Box, ctl: Ctl, source: LiveSource, channel: str, recording: int
) -> None:
    """Scenario 2, killed from outside before its time had come: replaced at once, and then rotated as any other."""
    kill(box, "KILL", streamlink_pid(box, unit(recording, 1)))
    wait_segments(box, ctl, channel, ["signal:9", None])
    first, second = ctl.segments(channel)
    assert second["startedAt"]["monotonic"] - first["endedAt"]["monotonic"] < 5_000_000
    wait_segments(box, ctl, channel, ["signal:9", "rotated", None])
    ends_well(box, ctl, source, channel, channel)


def test_scenario_2_dead_when_the_rotation_is_due(
    box: Box, ctl: Ctl, source: LiveSource, channel: str, recording: int
) -> None:
    """Scenario 2 as it was: when the rotation is due there is no such process, and nobody has noticed.

    The daemon is a later one than the one that started the segment, so that nothing is left of that to be reaped.
    """
    box.run(["systemctl", "restart", "streamvaultd"])
    # the first one is rotated if the daemon was back too late
    box.wait_for(lambda: "rotationDueAt" in ctl.recording(channel)["runtime"], "none is rotated", timeout=60)
    daemon, due = main_pid(box), rotation_due(ctl, channel)
    number, shim = ctl.segments(channel)[-1]["number"], ctl.segments(channel)[-1]["pid"]
    kill(box, "STOP", daemon)
    try:
        kill(box, "KILL", streamlink_pid(box, unit(recording, number)))
        box.wait_for(lambda: unit(recording, number) not in scopes(box), "its scope is gone")
        wait_gone(box, shim)
        wait_instant(box, due)
    finally:
        kill(box, "CONT", daemon)
    wait_segments(box, ctl, channel, [*["rotated"] * (number - 1), "signal:9", None])
    ends_well(box, ctl, source, channel, channel)


def test_scenario_2_dies_while_it_is_rotated(
    box: Box, ctl: Ctl, source: LiveSource, channel: str, recording: int
) -> None:
    """Scenario 2 in the middle: the old segment dies while its successor starts, which goes on without it."""
    victim = streamlink_pid(box, unit(recording, 1))
    source.control(channel, fault="stall", on="playlist", for_=3)  # the successor waits for its first answer
    ctl("rotate", channel)
    box.wait_for(lambda: len(ctl.segments(channel)) == 2, "a successor")
    kill(box, "KILL", victim)
    wait_segments(box, ctl, channel, ["signal:9", None])
    [text] = told(box, GONE_ON, recording)
    assert "already terminated externally, continuing with rotation to segment 002" in text
    ends_well(box, ctl, source, channel, channel)


def test_scenario_3_zombie_at_the_rotation(
    box: Box, ctl: Ctl, source: LiveSource, channel: str, recording: int
) -> None:
    """Scenario 3, the process has ended and nobody has reaped it when its time comes: the shim is our zombie."""
    daemon, due = main_pid(box), rotation_due(ctl, channel)
    shim = ctl.segments(channel)[0]["pid"]
    streamlink = streamlink_pid(box, unit(recording, 1))
    kill(box, "STOP", daemon)
    try:
        kill(box, "KILL", streamlink)
        wait_process_state(box, shim, "Z")
        wait_instant(box, due)
        assert process_state(box, shim) == "Z"
    finally:
        kill(box, "CONT", daemon)
    wait_segments(box, ctl, channel, ["signal:9", None])
    wait_gone(box, shim)
    ends_well(box, ctl, source, channel, channel)


def test_scenario_3_zombie_in_the_scope(box: Box, ctl: Ctl, source: LiveSource, channel: str, recording: int) -> None:
    """Scenario 3 one level down: streamlink is a zombie because the shim, its parent, does not move any more.

    Nothing tells of its end then. The rotation starts the successor all the same, and ends the scope by force.
    """
    shim, streamlink = ctl.segments(channel)[0]["pid"], streamlink_pid(box, unit(recording, 1))
    kill(box, "STOP", shim)
    kill(box, "KILL", streamlink)
    wait_process_state(box, streamlink, "Z")
    wait_writing(box, ctl, channel, 2)
    box.wait_for(lambda: causes(ctl, channel)[0] == "rotated", "the old segment has ended", timeout=40)
    wait_gone(box, shim, streamlink)
    wait_scopes(box, unit(recording, 2))
    ends_well(box, ctl, source, channel, channel)


# --- the checklist -------------------------------------------------------------------------------------------------


def test_checklist_a_failure_in_a_rotation_ends_nothing(
    box: Box, ctl: Ctl, source: LiveSource, channel: str, recording: int
) -> None:
    """ "Always wrap process operations", "Implement fail-forward": the old segment records on until it works."""
    broker = ["streamvault-brokerd.socket", "streamvault-brokerd.service"]
    box.run(["systemctl", "stop", *broker])
    try:
        box.wait_for(lambda: told(box, ENTRIES[Notice.ROTATION_FAILED], recording), "a rotation failed", timeout=30)
        assert ctl.segments(channel)[0]["phase"] == "writing"
        assert ctl.state(channel) in ("recording", "rotating")
    finally:
        box.run(["systemctl", "start", broker[0]])
    box.wait_for(lambda: told(box, ROTATED, recording), "a rotation succeeded", timeout=40)
    box.wait_for(lambda: causes(ctl, channel)[0] == "rotated", "the old segment has ended")
    ends_well(box, ctl, source, channel, channel)


def test_checklist_nothing_of_a_dead_process_is_kept(
    box: Box, ctl: Ctl, source: LiveSource, channel: str, recording: int
) -> None:
    """ "Remove process from tracking": its descriptors are closed, its pipe and its unit forgotten."""
    daemon = main_pid(box)

    def kept() -> tuple[int, int, int]:
        fds = box.run(["ls", f"/proc/{daemon}/fd"]).stdout.split()
        shown = ["systemctl", "show", "--property=NFileDescriptorStore", "--value", "streamvaultd"]
        units = box.run(["systemctl", "list-units", "--all", "--plain", "--no-legend", "streamvault-*.scope"]).stdout
        return len(fds), int(box.run(shown).stdout), len(units.splitlines())

    before = kept()
    for number in range(1, 4):
        kill(box, "KILL", streamlink_pid(box, unit(recording, number)))
        wait_writing(box, ctl, channel, number + 1)
    # a connection that was just about to be closed may have been counted
    box.wait_for(
        lambda: all(now <= was for now, was in zip(kept(), before, strict=True)),
        f"it keeps {before} descriptors, stored ones and units, not more",
    )
    ctl("stop", channel)


def test_checklist_an_external_end_is_no_error(
    box: Box, ctl: Ctl, source: LiveSource, channel: str, recording: int
) -> None:
    """ "Log external terminations as INFO, not ERROR"; "Use semantic logging prefixes": here, fields."""
    kill(box, "KILL", streamlink_pid(box, unit(recording, 1)))
    wait_segments(box, ctl, channel, ["signal:9", None])
    story = box.journal(f"STREAMVAULT_RECORDING={recording}")
    assert [entry["MESSAGE"] for entry in story if int(entry["PRIORITY"]) <= 3] == []
    [death] = [entry for entry in story if entry.get("MESSAGE_ID") == DIED.message_id]
    told_fields = {name: death[f"STREAMVAULT_{name}"] for name in ("STREAMER", "RECORDING", "SEGMENT", "CAUSE")}
    assert told_fields == {
        "STREAMER": channel,
        "RECORDING": str(recording),
        "SEGMENT": "1",
        "CAUSE": "signal:9",
    }
    ctl("stop", channel)


def test_checklist_what_is_told_is_explained(box: Box) -> None:
    """ "Document expected vs unexpected": journalctl --catalog has a text for each notice."""
    listed = box.run(["journalctl", "--list-catalog"]).stdout
    assert [entry.message_id for entry in ENTRIES.values() if entry.message_id not in listed] == []


def test_checklist_what_is_believed_is_what_is(
    box: Box, ctl: Ctl, source: LiveSource, channel: str, recording: int
) -> None:
    """ "Monitoring for stuck references": after deaths, rows, units and processes are the same set."""
    for number in (1, 2):
        kill(box, "KILL", streamlink_pid(box, unit(recording, number)))
        wait_writing(box, ctl, channel, number + 1)
    running = [segment for segment in ctl.segments(channel) if "endedAt" not in segment]
    wait_scopes(box, *(segment["unit"] for segment in running))
    assert process_state(box, running[0]["pid"]) not in ("", "Z")
    ctl("stop", channel)


def test_the_next_recording_of_the_same_streamer(
    box: Box, ctl: Ctl, source: LiveSource, channel: str, recording: int
) -> None:
    """ "Affected ALL subsequent recordings": after one with deaths the streamer is free again."""
    kill(box, "KILL", streamlink_pid(box, unit(recording, 1)))
    wait_writing(box, ctl, channel, 2)
    ctl("stop", channel)
    box.wait_for(lambda: ctl.state(channel) == "stopped", "it is stopped", timeout=60)
    ctl("record", source.url(f"{channel}-2"), "--name", channel)
    assert ctl.recording(channel)["id"] > recording
    ends_well(box, ctl, source, f"{channel}-2", channel)
