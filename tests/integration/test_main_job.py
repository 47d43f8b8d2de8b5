# SPDX-License-Identifier: GPL-3.0-or-later
"""The main job, end to end: a live broadcast in scopes, a rotation, deaths, the end, one joined file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fakes.livesource import LiveSource
from tests.integration.harness import Ctl, count, scopes, streamlink_pid
from tests.integration.stories import wait_scopes
from tests.testbed.box import Box

RECORDINGS = "/var/lib/streamvaultd/recordings"


def wait_state(box: Box, ctl: Ctl, name: str, *states: str, timeout: float = 60) -> str:
    return box.wait_for(
        lambda: state if (state := ctl.state(name)) in states else "", f"{name} is {states}", timeout=timeout
    )


def wait_writing(box: Box, ctl: Ctl, name: str, number: int) -> None:
    """Until this segment is the newest and writes."""

    def is_writing() -> bool:
        newest = ctl.segments(name)[-1]
        return bool(newest["number"] == number and newest["phase"] == "writing")

    box.wait_for(is_writing, f"segment {number} writes", timeout=30)


def wait_media(box: Box, source: LiveSource, channel: str, more: int) -> None:
    """Until the source has offered so many further media segments."""
    goal = source.state(channel)["last"] + more
    box.wait_for(lambda: source.state(channel)["last"] >= goal, f"{more} media segments", timeout=60)


def wait_told(box: Box, recording: int, text: str) -> None:
    """Until the journal has a line with this text about the recording."""
    box.wait_journal(f"STREAMVAULT_RECORDING={recording}", until=lambda entry: text in entry["MESSAGE"], timeout=40)


def wait_tidied(box: Box, name: str, *files: str) -> None:
    """Until these are all that is left of a recording; its segments go when it is complete."""
    box.wait_for(lambda: files_of(box, name) == [*files], f"nothing but {files or 'nothing'} is left of {name}")


@contextmanager
def settings(box: Box, text: str) -> Iterator[None]:
    """What is started meanwhile goes by these settings, too."""
    file = box.path("/etc/streamvaultd/conf.d/zz-test.toml")
    file.write_text(text)
    box.run(["systemctl", "reload", "streamvaultd"])
    try:
        yield
    finally:
        file.unlink()
        box.run(["systemctl", "reload", "streamvaultd"])


def files_of(box: Box, name: str) -> list[str]:
    which = ["-type", "f", "-not", "-name", ".stream_*.json*"]
    found = box.run(["find", f"{RECORDINGS}/{name}", *which], check=False).stdout.split()
    return [Path(file).name for file in found]


def test_a_broadcast_with_a_rotation_deaths_and_an_end(box: Box, ctl: Ctl, source: LiveSource, channel: str) -> None:
    ctl("record", source.url(channel), "--name", "demo")
    recording = ctl.recording("demo")["id"]
    assert scopes(box) == [f"streamvault-{recording}-001.scope"]
    shown = box.run(["systemctl", "show", "--property=Slice,MemoryMax", scopes(box)[0]]).stdout
    assert "Slice=streamvault-recordings.slice" in shown
    assert f"MemoryMax={256 << 20}" in shown

    # a rotation: two scopes for a moment, then one
    ctl("rotate", "demo")
    box.wait_journal(
        f"STREAMVAULT_RECORDING={recording}", until=lambda e: "Successfully rotated to segment 002" in e["MESSAGE"]
    )
    box.wait_for(lambda: scopes(box) == [f"streamvault-{recording}-002.scope"], "one scope")
    wait_told(box, recording, "Segment 001 of 'demo' ended (rotated)")
    segments = ctl.segments("demo")
    assert [segment["cause"] for segment in segments if "cause" in segment] == ["rotated"]
    assert segments[1]["startedAt"]["monotonic"] < segments[0]["endedAt"]["monotonic"]

    # a killed streamlink: a new segment of the same recording
    box.run(["kill", "-KILL", str(streamlink_pid(box, f"streamvault-{recording}-002.scope"))])
    wait_writing(box, ctl, "demo", 3)
    assert ctl.segments("demo")[1]["cause"] == "signal:9"
    assert ctl.recording("demo")["id"] == recording

    # a killed daemon: the segment never notices
    before = ctl.segments("demo")[2]["pid"]
    box.run(["systemctl", "kill", "--signal=KILL", "streamvaultd"])
    box.wait_journal(
        f"STREAMVAULT_RECORDING={recording}", until=lambda e: "Adopted running segment 003" in e["MESSAGE"]
    )
    box.run(["systemctl", "is-active", "--wait", "streamvaultd"], check=False)
    assert ctl.segments("demo")[2]["pid"] == before
    assert ctl.recording("demo")["id"] == recording

    # and the same for a restart
    box.run(["systemctl", "restart", "streamvaultd"])
    assert ctl.segments("demo")[2]["pid"] == before

    # the end: one file, every frame once
    wait_media(box, source, channel, 2)
    source.control(channel, end=True)
    wait_state(box, ctl, "demo", "completed", timeout=60)
    runtime = ctl.recording("demo")["runtime"]
    wait_tidied(box, "demo", Path(runtime["path"]).name)
    frames = count(box, runtime["path"], source, channel, first_segment=0)
    assert frames.is_perfect, frames
    wait_scopes(box)

    # the journal tells the story, streamlink's own lines included
    story = [entry["MESSAGE"] for entry in box.journal(f"STREAMVAULT_RECORDING={recording}")]
    for line in ("begins", "Successfully rotated", "died (signal:9)", "Adopted", "Opening stream", "is complete"):
        assert any(line in message for message in story), line


def test_stop_joins_what_was_received(box: Box, ctl: Ctl, source: LiveSource, channel: str) -> None:
    ctl("record", source.url(channel), "--name", "stopped")
    wait_media(box, source, channel, 1)
    ctl("stop", "stopped")
    wait_state(box, ctl, "stopped", "stopped")
    path = ctl.recording("stopped")["runtime"]["path"]
    frames = count(box, path, source, channel, first_segment=0, last_segment=1)
    assert not frames.lost, frames
    assert frames.repeated == 0, frames
    refused = ctl("stop", "stopped", check=False)
    assert refused.returncode == 1
    assert "cannot stop recording" in refused.stderr


def test_a_duration_ends_a_recording(box: Box, ctl: Ctl, source: LiveSource, channel: str) -> None:
    done = ctl("record", source.url(channel), "--name", "brief", "--duration", "5s", "--wait", timeout=90)
    assert ctl.state("brief") == "completed"
    assert done.stdout.splitlines()[-1] == ctl.recording("brief")["runtime"]["path"]


def test_size_rotates(box: Box, ctl: Ctl, source: LiveSource, channel: str) -> None:
    """1 MiB is reached within half a minute at the source's rate."""
    with settings(box, '[rotation]\nsize = "1M"\n'):
        ctl("record", source.url(channel), "--name", "large")
    box.wait_for(lambda: len(ctl.segments("large")) >= 2, "a second segment", timeout=90)
    wait_writing(box, ctl, "large", 2)
    wait_media(box, source, channel, 1)
    source.control(channel, end=True)
    wait_state(box, ctl, "large", "completed")
    frames = count(box, ctl.recording("large")["runtime"]["path"], source, channel, first_segment=0)
    assert frames.is_perfect, frames


def test_an_mp4_by_request(box: Box, ctl: Ctl, source: LiveSource, channel: str) -> None:
    with settings(box, '[recording]\ncontainer = "mp4"\n'):
        ctl("record", source.url(channel), "--name", "film")
    ctl("rotate", "film")
    wait_writing(box, ctl, "film", 2)
    wait_media(box, source, channel, 1)
    source.control(channel, end=True)
    wait_state(box, ctl, "film", "completed")
    path = ctl.recording("film")["runtime"]["path"]
    wait_tidied(box, "film", Path(path).name)
    assert path.endswith(".mp4")
    frames = count(box, path, source, channel, first_segment=0)
    assert frames.is_perfect, frames
    assert ctl("check").returncode == 0


def test_a_source_that_comes_back_continues_the_recording(
    box: Box, ctl: Ctl, source: LiveSource, channel: str
) -> None:
    """The playlist is gone for longer than streamlink waits, and back within the grace period."""
    ctl("record", source.url(channel), "--name", "flapping")
    recording = ctl.recording("flapping")["id"]
    source.control(channel, fault="404")
    box.run(["kill", "-KILL", str(streamlink_pid(box, f"streamvault-{recording}-001.scope"))])
    box.wait_for(lambda: ctl.state("flapping") in ("grace", "backoff"), "it waits for the source", timeout=30)
    source.control(channel, fault=None)
    wait_state(box, ctl, "flapping", "recording")
    wait_media(box, source, channel, 1)
    source.control(channel, end=True)
    wait_state(box, ctl, "flapping", "completed")
    assert ctl.recording("flapping")["id"] == recording
    frames = count(box, ctl.recording("flapping")["runtime"]["path"], source, channel, first_segment=0)
    assert frames.is_perfect, frames


@pytest.mark.parametrize("fault", ["freeze", "drop"])
def test_a_source_that_falls_silent_is_over_after_the_grace_period(
    box: Box, ctl: Ctl, source: LiveSource, channel: str, fault: str
) -> None:
    """No ENDLIST: the playlist just stands still, offering its last media for ever, or nobody answers any more."""
    ctl("record", source.url(channel), "--name", fault)
    wait_media(box, source, channel, 1)
    source.control(channel, fault=fault)
    last = source.state(channel)["last"]
    wait_state(box, ctl, fault, "completed", timeout=150)
    path = ctl.recording(fault)["runtime"]["path"]
    frames = count(box, path, source, channel, first_segment=0, last_segment=last - 1)
    assert not frames.lost, frames
    assert frames.repeated == 0, frames


def test_a_death_while_the_daemon_is_down(box: Box, ctl: Ctl, source: LiveSource, channel: str) -> None:
    """What happens while nobody looks is found out at the next start: the exit record waited in the fd store."""
    ctl("record", source.url(channel), "--name", "alone")
    recording = ctl.recording("alone")["id"]
    pid = streamlink_pid(box, f"streamvault-{recording}-001.scope")
    box.run(["systemctl", "stop", "streamvaultd"])
    assert scopes(box) == [f"streamvault-{recording}-001.scope"]
    box.run(["kill", "-KILL", str(pid)])
    box.wait_for(lambda: not scopes(box), "the scope is gone")
    box.run(["systemctl", "start", "streamvaultd"])
    wait_writing(box, ctl, "alone", 2)
    assert ctl.segments("alone")[0]["cause"] == "signal:9"
    wait_media(box, source, channel, 1)
    source.control(channel, end=True)
    wait_state(box, ctl, "alone", "completed")
    frames = count(box, ctl.recording("alone")["runtime"]["path"], source, channel, first_segment=0)
    assert frames.is_perfect, frames


def test_a_killed_shim_leaks_no_streamlink(box: Box, ctl: Ctl, source: LiveSource, channel: str) -> None:
    ctl("record", source.url(channel), "--name", "shimless")
    recording = ctl.recording("shimless")["id"]
    box.run(["kill", "-KILL", str(ctl.segments("shimless")[0]["pid"])])
    wait_writing(box, ctl, "shimless", 2)
    box.wait_for(lambda: scopes(box) == [f"streamvault-{recording}-002.scope"], "the first scope is gone")
    wait_media(box, source, channel, 1)
    source.control(channel, end=True)
    wait_state(box, ctl, "shimless", "completed")
    frames = count(box, ctl.recording("shimless")["runtime"]["path"], source, channel, first_segment=0)
    assert frames.is_perfect, frames


def test_several_recordings_do_not_touch_each_other(box: Box, ctl: Ctl, source: LiveSource, channel: str) -> None:
    names = [f"many{number}" for number in range(4)]
    for name in names:
        ctl("record", source.url(f"{channel}-{name}"), "--name", name, "--no-block")
    for name in names:
        wait_state(box, ctl, name, "recording")
    victim = ctl.recording("many0")["id"]
    box.run(["kill", "-KILL", str(streamlink_pid(box, f"streamvault-{victim}-001.scope"))])
    wait_writing(box, ctl, "many0", 2)
    assert [len(ctl.segments(name)) for name in names] == [2, 1, 1, 1]
    for name in names:
        source.control(f"{channel}-{name}", end=True)
    for name in names:
        wait_state(box, ctl, name, "completed")
        path = ctl.recording(name)["runtime"]["path"]
        frames = count(box, path, source, f"{channel}-{name}", first_segment=0)
        assert frames.is_perfect, frames


def test_a_second_recording_of_one_streamer_is_refused(box: Box, ctl: Ctl, source: LiveSource, channel: str) -> None:
    ctl("record", source.url(channel), "--name", "twice")
    refused = ctl("record", source.url(channel), "--name", "twice", check=False)
    assert refused.returncode == 1
    assert "cannot record 'twice' twice" in refused.stderr
    ctl("stop", "twice")
    wait_state(box, ctl, "twice", "stopped")


REFUSALS = {
    "no plugin": (["https://example.invalid/", "--name", "r1"], 1, "streamlink has no plugin"),
    "bad name": (["http://127.0.0.1:9/x.m3u8", "--name", "../../x y'\";"], 2, "as a name"),
    "empty URL": (["", "--name", "r2"], 2, "as a URL"),
    "line break": (["http://127.0.0.1:9/x.m3u8\nstdout", "--name", "r3"], 2, "as a URL"),
    "bad quality": (["http://127.0.0.1:9/x.m3u8", "--name", "r4", "--quality", "best\nx"], 2, "as a quality"),
    "bad folder": (["http://127.0.0.1:9/x.m3u8", "--name", "r5", "--directory", "/proc/x"], 1, "cannot write to"),
    "in memory": (["http://127.0.0.1:9/x.m3u8", "--name", "r9", "--directory", "/tmp/x"], 1, "kept in memory"),
    "read-only": (["http://127.0.0.1:9/x.m3u8", "--name", "r6", "--directory", "/usr/x"], 1, "cannot write to"),
    "bad duration": (["http://127.0.0.1:9/x.m3u8", "--name", "r7", "--duration", "soon"], 2, "as a duration"),
    "nobody there": (["http://127.0.0.1:9/x.m3u8", "--name", "r8"], 1, "cannot record"),
}


FIND = ["find", "/var/lib/streamvaultd", "-not", "-name", "*.sqlite*", "-not", "-name", ".stream_*.json.new"]


@pytest.mark.parametrize("case", REFUSALS)
def test_a_refused_recording_leaves_nothing_behind(box: Box, ctl: Ctl, case: str) -> None:
    arguments, code, text = REFUSALS[case]
    box.wait_for(lambda: "_segments" not in box.run(FIND).stdout, "what was recorded before is tidied up")
    before = sorted(box.run(FIND).stdout.splitlines())
    refused = ctl("record", *arguments, check=False, timeout=90)
    assert (refused.returncode, text in refused.stderr) == (code, True), refused.stderr
    assert any(line.startswith("streamvaultctl: cannot") for line in refused.stderr.splitlines())
    wait_scopes(box)
    assert sorted(box.run(FIND).stdout.splitlines()) == before
    assert ctl.json("list") == []


def test_a_source_that_goes_away_before_media_arrive(box: Box, ctl: Ctl, source: LiveSource, channel: str) -> None:
    source.control(channel, fault="stall", on="media")
    waiting = box.popen(["streamvaultctl", "record", source.url(channel), "--name", "early"])
    box.wait_for(lambda: source.state(channel)["playlistRequests"] > 0, "streamlink asks", timeout=30)
    source.control(channel, gone=True)
    source.control(channel, fault=None)
    _, err = waiting.communicate(timeout=120)
    assert waiting.returncode == 1, err
    assert b"cannot record" in err
    wait_tidied(box, "early")
    wait_scopes(box)


def test_no_url_shows_in_argv(box: Box, ctl: Ctl, source: LiveSource, channel: str) -> None:
    ctl("record", source.url(channel) + "?token=planted-secret", "--name", "quiet")
    assert "planted-secret" not in box.run(["ps", "-eo", "args"]).stdout
    assert "planted-secret" not in json.dumps(ctl.recording("quiet"))
    assert "planted-secret" not in box.run(["journalctl", "--no-pager", "--all"]).stdout
    ctl("stop", "quiet")
    wait_state(box, ctl, "quiet", "stopped")


def test_the_daemon_dies_while_it_joins(box: Box, ctl: Ctl, source: LiveSource, channel: str) -> None:
    ctl("record", source.url(channel), "--name", "joining")
    ctl("rotate", "joining")
    wait_writing(box, ctl, "joining", 2)
    source.control(channel, end=True)
    wait_told(box, ctl.recording("joining")["id"], "Joining the segments")
    box.run(["systemctl", "kill", "--signal=KILL", "streamvaultd"])
    box.wait_for(lambda: ctl("list", check=False).returncode == 0, "the daemon is back")
    wait_state(box, ctl, "joining", "completed")
    frames = count(box, ctl.recording("joining")["runtime"]["path"], source, channel, first_segment=0)
    assert frames.is_perfect, frames
    wait_tidied(box, "joining", Path(ctl.recording("joining")["runtime"]["path"]).name)


def test_a_join_that_gets_no_scope_is_tried_again(box: Box, ctl: Ctl, source: LiveSource, channel: str) -> None:
    """systemd refuses it for a while, and the daemon is begun anew meanwhile: the recording is complete afterwards."""
    ctl("record", source.url(channel), "--name", "unjoined")
    wait_writing(box, ctl, "unjoined", 1)
    box.run(["systemctl", "stop", "streamvault-jobs.slice"])
    box.run(["systemctl", "mask", "--runtime", "streamvault-jobs.slice"])
    source.control(channel, end=True)
    wait_state(box, ctl, "unjoined", "unjoined")
    box.wait_for(lambda: len(ctl.json("jobs", "unjoined")) >= 2, "the first pause is over")
    wait_state(box, ctl, "unjoined", "unjoined")
    due = ctl.recording("unjoined")["runtime"]["retryAt"]["monotonic"]
    assert "it is tried again at" in ctl("status", "unjoined").stdout
    box.run(["systemctl", "restart", "streamvaultd"])
    assert ctl.recording("unjoined")["runtime"]["retryAt"]["monotonic"] == due
    box.run(["systemctl", "unmask", "--runtime", "streamvault-jobs.slice"])
    ctl("retry", "unjoined")
    wait_state(box, ctl, "unjoined", "completed")
    frames = count(box, ctl.recording("unjoined")["runtime"]["path"], source, channel, first_segment=0)
    assert frames.is_perfect, frames


def test_varlinkctl_understands_the_socket(box: Box) -> None:
    socket = "/run/streamvaultd/io.streamvault.Recorder"
    shown = box.run(["varlinkctl", "introspect", socket, "io.streamvault.Recorder"]).stdout
    assert "method Record" in shown
    listed = box.run(["varlinkctl", "call", "-j", socket, "io.streamvault.Recorder.List", '{"all":true}'])
    assert json.loads(listed.stdout)["recordings"]
    missing = box.run(
        ["varlinkctl", "call", socket, "io.streamvault.Recorder.Get", '{"recording":"nobody"}'], check=False
    )
    assert "NoSuchRecording" in missing.stdout + missing.stderr


def test_exit_codes(box: Box, ctl: Ctl) -> None:
    assert ctl("status", "nobody", check=False).returncode == 4
    assert ctl("frobnicate", check=False).returncode == 2
    box.run(["systemctl", "stop", "streamvaultd.socket", "streamvaultd.service"])
    assert ctl("list", check=False).returncode == 3
    box.run(["systemctl", "start", "streamvaultd"])
    assert ctl("list").returncode == 0
