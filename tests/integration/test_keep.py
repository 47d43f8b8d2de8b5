# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of broadcasts on a real systemd: too short ones go, each show has a file, and its chat another."""

from __future__ import annotations

import gzip
import json
import re
import tempfile
from pathlib import Path
from typing import Any

import pytest

from streamvaultd.base.irc import parse
from tests.fakes.chat_server import ChatServer
from tests.fakes.livesource import LiveSource
from tests.integration.harness import SETTINGS, Ctl, configure, scopes, streamlink_pid
from tests.integration.stories import kill
from tests.integration.test_main_job import settings
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


CHAT_CA = "/etc/streamvaultd/chat.pem"


def kept_ids(content: bytes) -> list[str]:
    """The ids of messages in the lines of a chat, those that came twice once; a line that is torn is left out."""
    found: dict[str, None] = {}
    for text in content.splitlines():
        try:
            line = parse(json.loads(text).get("l", ""))
        except ValueError:
            continue
        if line is not None and "id" in line.tags:
            found[line.tags["id"]] = None
    return list(found)


def wait_kept(box: Box, folder: str, server: ChatServer) -> None:
    """Everything that was said so far is in files of the box."""
    parts = ["sh", "-c", f"cat $(ls {folder}/chat_*_*.jsonl | sort -t_ -k3 -n)"]
    box.wait_for(
        lambda: kept_ids(box.run(parts, check=False).stdout.encode()) == server.sent, "all is kept", timeout=60
    )


def chat_scopes(box: Box) -> list[str]:
    return [unit for unit in scopes(box) if "-chat-" in unit]


def test_a_chat_is_kept_beside_its_picture_whatever_dies(box: Box, source: LiveSource, tmp_path: Path) -> None:
    with ChatServer(tmp_path / "tls") as server:
        box.write_file(CHAT_CA, server.ca.read_bytes())
        box.run(["chmod", "644", CHAT_CA])
        chat = f'[chat]\nserver = "localhost:{server.port}"\nauthority = "{CHAT_CA}"\n'
        configure(box, SETTINGS + WATCH + chat)
        file = f'[streamer]\nurl = "{source.url("gina")}"\n[chat]\ncapture = true\nchannel = "alice"\n'
        box.write_file("/etc/streamvaultd/streamers.d/gina.toml", file)
        box.run(["systemctl", "restart", "streamvaultd"])
        gina, folder = Watched(box, source, "gina"), f"{RECORDINGS}/gina"
        gina.wait("offline")
        show = source.go_live("gina")
        gina.wait("recording")
        server.say(30)
        wait_kept(box, folder, server)
        recording = gina.recordings()[0]["id"]
        first = f"streamvault-{recording}-chat-1.scope"
        assert chat_scopes(box) == [first]
        box.wait_for(lambda: gina.ctl.state("gina") == "recording", "media come", timeout=60)
        gina.ctl("rotate", "gina")
        pass_segments(box, show, 2)
        server.say(30)
        box.run(["systemctl", "restart", "streamvaultd"])
        server.say(30)
        assert chat_scopes(box) == [first]  # neither the video's rotation nor the daemon concerns it
        gina.ctl("check")
        wait_kept(box, folder, server)
        kill(box, "KILL", streamlink_pid(box, first))
        server.wait(lambda: not server.joined)
        server.say(30)
        second = f"streamvault-{recording}-chat-2.scope"
        assert chat_scopes(box) == [second]
        runtime = gina.recordings()[0]["runtime"]
        assert runtime["chat"]["channel"] == "alice"
        assert runtime["deaths"] == 0
        wait_kept(box, folder, server)
        box.wait_for(lambda: gina.recordings()[0]["runtime"]["chat"].get("heard"), "its chat is heard", timeout=60)
        source.control("gina", end=True)
        gina.wait_completed(1)
        box.wait_for(lambda: gina.recordings()[0]["runtime"]["chat"]["state"] == "done", "it is packed", timeout=60)
        (found,) = gina.recordings()
        gina.lose_nothing(found, show)
        packed = found["runtime"]["chat"]["path"]
        assert sorted(files(box, "gina")) == sorted([packed, found["runtime"]["path"]])
        fetched = box.fetch(packed, tmp_path / "chat.gz")
        assert kept_ids(gzip.decompress(fetched.read_bytes())) == server.sent
        assert found["runtime"]["chat"]["messages"] == sum(n % 97 != 5 for n in range(1, len(server.sent) + 1))
        kinds = [event["kind"] for event in gina.ctl.json("events", str(recording))]
        assert kinds.count("chat-died") == 1
        assert chat_scopes(box) == []
        gina.ctl("check")
    box.run(["rm", "/etc/streamvaultd/streamers.d/gina.toml"])


VICTIMS = (
    "streamvaultd",
    "streamvault-job-*.scope",
    "streamvaultd",
    "streamvaultd",
    "streamvault-job-*.scope",
    "streamvaultd",
)
"""Who is killed, each when another try of a step has begun."""


def call(ctl: Ctl, method: str, **parameters: str) -> dict[str, Any]:
    """What the socket answers; nothing while the daemon is away."""
    where = "/run/streamvaultd/io.streamvault.Recorder"
    argv = ["varlinkctl", "call", "-j", where, f"io.streamvault.Recorder.{method}", json.dumps(parameters)]
    answer = ctl.machine.run(argv, check=False)
    found: dict[str, Any] = json.loads(answer.stdout) if answer.returncode == 0 else {}
    return found


def steps_of(ctl: Ctl, name: str) -> list[Any]:
    """The steps of a streamer's recording."""
    found: list[Any] = call(ctl, "ListParts", recording=name).get("steps", [])
    return found


def tries_of(ctl: Ctl) -> int:
    """How many jobs of the step there were."""
    return len(call(ctl, "ListJobs", kind="thumbnail").get("jobs", []))


def is_done(ctl: Ctl, name: str) -> bool:
    return [step["status"] for step in steps_of(ctl, name)] == ["done"]


def check_picture(box: Box, ctl: Ctl, name: str) -> None:
    """It is there, once, and everybody knows of it."""
    box.wait_for(lambda: is_done(ctl, name), f"{name}'s picture", timeout=240)
    recording = ctl.recording(name)
    path = recording["runtime"]["path"]
    picture = path.removesuffix(".ts") + "-thumb.jpg"
    assert [file["path"] for file in steps_of(ctl, name)[0]["files"]] == [picture]
    assert box.path(picture).read_bytes().startswith(b"\xff\xd8\xff")
    box.wait_for(lambda: sorted(files(box, name)) == sorted([path, picture]), f"nothing else is left of {name}")
    jobs = [job["status"] for job in ctl.json("jobs", name) if job["kind"] == "thumbnail"]
    assert jobs.count("done") == 1, jobs
    manifest = box.path(path).with_name(f".stream_{recording['stream']}.json")
    box.wait_for(lambda: bool(json.loads(manifest.read_text()).get("made")), "it is in the manifest")
    assert "thumbnail: done" in ctl("status", name).stdout
    assert "as made" in ctl("verify", name).stdout


def test_a_picture_is_made_of_each_once_whatever_dies(box: Box, source: LiveSource) -> None:
    """Four broadcasts end together; then the daemon, and what runs in jobs' scopes, are killed again and again."""
    ctl, names, seen = Ctl(box), ["hugo", "ida", "jan", "kim"], 0
    with settings(box, "[after]\nthumbnail = true\n"):
        for name in names:
            source.go_live(name)
            ctl("record", source.url(name), "--name", name)
    box.wait_for(lambda: all(ctl.recording(name)["runtime"]["bytes"] for name in names), "all have media")
    for name in names:
        ctl("stop", name)

    def has_begun() -> bool:
        return tries_of(ctl) > seen or all(is_done(ctl, name) for name in names)

    for whom in VICTIMS:
        box.wait_for(has_begun, "another try", timeout=120)
        seen = tries_of(ctl)
        box.run(["systemctl", "kill", "--signal=KILL", whom], check=False)
        box.wait_for(lambda: ctl("list", check=False).returncode == 0, "the daemon is there")
    for name in names:
        check_picture(box, ctl, name)
    ctl("check")
    ctl("prune", "--streamer", names[0], "--older-than", "0s")
    assert files(box, names[0]) == []
    assert not box.run(["find", RECORDINGS, "-name", ".after_*"]).stdout
