# SPDX-License-Identifier: GPL-3.0-or-later
"""The programs of steps, as processes: what they make of real media, and what a try that was killed leaves."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from streamvaultd.jobs.after import step_program
from streamvaultd.jobs.after.step_program import Making, StepFailed, StepSpec, fresh, parse_spec, perform
from streamvaultd.jobs.join import output

pytestmark = pytest.mark.timeout(300)  # real programs, on whatever machine

TEST_CARD = "testsrc2=duration=12:rate=25:size=640x360"
JPEG = b"\xff\xd8\xff"


@pytest.fixture(name="media", scope="module")
def _media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A transport stream of 12 s, and its sound alone."""
    folder = tmp_path_factory.mktemp("media")
    made = ["ffmpeg", "-nostdin", "-v", "error", "-f", "lavfi", "-i", TEST_CARD, "-f", "lavfi", "-i", "sine=d=12"]
    encoded = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "50", "-c:a", "aac", str(folder / "all.ts")]
    subprocess.run([*made, *encoded], check=True)
    subprocess.run(
        ["ffmpeg", "-nostdin", "-v", "error", "-i", folder / "all.ts", "-vn", "-c", "copy", folder / "sound.ts"],
        check=True,
    )
    return folder


class Job:
    """One recording's folder, and what its steps are told."""

    def __init__(self, folder: Path, source: Path, *, name: str = "a b.ts", duration: int | None = 12_000) -> None:
        self.folder = folder / "demo"
        self.folder.mkdir()
        self.result = self.folder / name
        shutil.copy(source, self.result)
        self.report = folder / "report.json"
        self.told: dict[str, Any] = {
            "recording": 7, "step": "thumbnail", "streamer": "demo", "folder": str(self.folder),
            "result": str(self.result), "started": 1, "ended": 2, "work": str(self.folder / ".after_7_thumbnail"),
            "parts": [{"path": str(self.result), "bytes": self.result.stat().st_size, "durationMs": duration}],
            "report": str(self.report), "progress": str(folder / "progress"), "memory": 1 << 29,
        }  # fmt: skip

    @property
    def spec(self) -> StepSpec:
        return parse_spec(json.dumps(self.told).encode())

    def run(self, module: str = "thumbnail") -> dict[str, Any]:
        """Run it as the daemon does; its report."""
        argv = [sys.executable, "-I", "-m", f"streamvaultd.jobs.after.{module}"]
        done = subprocess.run(argv, input=json.dumps(self.told), text=True, capture_output=True, check=False)
        told: dict[str, Any] = json.loads(self.report.read_text())
        assert done.returncode == (0 if told["ok"] else 1), done.stderr
        return told


def test_a_thumbnail_is_a_picture_beside_the_file(media: Path, tmp_path: Path) -> None:
    job = Job(tmp_path, media / "all.ts")
    told = job.run()
    [made] = told["files"]
    thumb = job.folder / "a b-thumb.jpg"
    content = thumb.read_bytes()
    assert made == {"path": str(thumb), "bytes": len(content), "sha256": sha256(content).hexdigest()}
    assert content.startswith(JPEG)
    assert thumb.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("duration", [None, 3_000_000])
def test_a_length_that_is_not_known_or_wrong_gives_a_picture_all_the_same(
    media: Path, tmp_path: Path, duration: int | None
) -> None:
    job = Job(tmp_path, media / "all.ts", duration=duration)
    assert job.run()["ok"]
    assert (job.folder / "a b-thumb.jpg").read_bytes().startswith(JPEG)


def test_nothing_behind_the_place_is_an_error_of_some_versions_and_the_start_has_a_picture(
    media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ffmpeg 7 ends with 234 where nothing was written, ffmpeg 5 with 0."""
    folder, real = tmp_path / "bin", shutil.which("ffmpeg")
    folder.mkdir()
    told = 'for word; do draft="${word#file:}"; done; [ -s "$draft" ] || { echo Nothing was written >&2; exit 234; }'
    (folder / "ffmpeg").write_text(f'#!/bin/sh\n{real} "$@"\n{told}\n')
    (folder / "ffmpeg").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    job = Job(tmp_path, media / "all.ts", duration=3_000_000)
    assert job.run()["ok"]
    assert (job.folder / "a b-thumb.jpg").read_bytes().startswith(JPEG)


def test_what_has_no_pictures_has_no_thumbnail_and_says_so(media: Path, tmp_path: Path) -> None:
    told = Job(tmp_path, media / "sound.ts").run()
    assert (told["ok"], told["files"], len(told["notes"])) == (True, [], 1)


def test_a_file_that_is_gone_or_noise_fails_with_what_ffmpeg_says(media: Path, tmp_path: Path) -> None:
    job = Job(tmp_path, media / "all.ts")
    job.result.write_bytes(b"\0" * 10_000)
    told = job.run()
    assert not told["ok"]
    assert told["error"].startswith("ffprobe gave 1: ")
    job.result.unlink()
    assert "No such file" in job.run()["error"]


def test_somebody_elses_file_of_that_name_is_left_alone(media: Path, tmp_path: Path) -> None:
    job = Job(tmp_path, media / "all.ts")
    theirs = job.folder / "a b-thumb.jpg"
    theirs.write_text("mine")
    told = job.run()
    assert (told["ok"], told["forGood"]) == (False, True)
    assert theirs.read_text() == "mine"


class Killed(BaseException):
    """The program is gone."""


@pytest.mark.parametrize("at", ["link", "sync_folder", "write_atomically"])
def test_a_try_that_was_killed_leaves_what_the_next_one_knows_for_its_own(
    media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """Even where its own would be other bytes: the file is the draft that it finds."""
    job = Job(tmp_path, media / "all.ts")
    final, draft = job.folder / "a b.txt", job.spec.work / "note.txt"

    def make(spec: StepSpec, made: Making) -> None:
        if made.has(draft, final):
            return
        fresh(draft).write_text(str(made))  # another text in each try
        made.publish(draft, final)

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(step_program if at == "sync_folder" else output, at, die)
        with pytest.raises(Killed):
            perform(job.spec, make)
    assert perform(job.spec, make)
    told = json.loads(job.report.read_text())
    assert [each["path"] for each in told["files"]] == [str(final)]
    assert told["files"][0]["sha256"] == sha256(final.read_bytes()).hexdigest()


@pytest.mark.parametrize("name", ["../outside.txt", "/outside.txt", "x/../../outside.txt", "."])
def test_nothing_is_put_outside_of_the_streamers_folder(media: Path, tmp_path: Path, name: str) -> None:
    job = Job(tmp_path, media / "all.ts")

    def make(spec: StepSpec, made: Making) -> None:
        draft = fresh(spec.work / "draft")
        draft.write_text("x")
        made.publish(draft, spec.folder / name)

    assert not perform(job.spec, make)
    assert json.loads(job.report.read_text())["forGood"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["demo", "report.json"]


def test_a_file_in_a_folder_of_its_own(media: Path, tmp_path: Path) -> None:
    job = Job(tmp_path, media / "all.ts")

    def make(spec: StepSpec, made: Making) -> None:
        draft = fresh(spec.work / "0.jpg")
        draft.write_bytes(JPEG)
        made.publish(draft, spec.folder / "a b.trickplay" / "320 - 10x10" / "0.jpg")

    assert perform(job.spec, make)
    assert (job.folder / "a b.trickplay" / "320 - 10x10" / "0.jpg").read_bytes() == JPEG


def test_a_disk_that_takes_nothing_is_a_try_that_failed(media: Path, tmp_path: Path) -> None:
    job = Job(tmp_path, media / "all.ts")

    def make(spec: StepSpec, made: Making) -> None:
        raise OSError(28, "No space left on device", str(spec.work))

    assert not perform(job.spec, make)
    told = json.loads(job.report.read_text())
    assert told["error"].endswith("No space left on device")
    assert not told.get("forGood")


def test_a_program_that_is_not_there_is_named(media: Path, tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match="no-such-program is not installed"):
        Making(Job(tmp_path, media / "all.ts").spec).command(["no-such-program"])


def test_what_is_no_input_is_refused() -> None:
    argv = [sys.executable, "-I", "-m", "streamvaultd.jobs.after.thumbnail"]
    for text in (b"", b"[]", b'{"recording": "x"}', b"\xff"):
        assert subprocess.run(argv, input=text, capture_output=True, check=False).returncode == 2


SAID = (
    ("ann", "{\\an8}\\N0:00:00.00 --> <b>hi"),
    ("Dialogue:\\s0", "\x1b[2J\u202egnp.exe\u2028--> \x00"),
    ("bob", "Kappa 😂"),
)


def chat_of(path: Path, began: int) -> None:
    """What three viewers say in the first three seconds, and a fourth one that is removed."""
    with gzip.open(path, "wt", encoding="utf-8") as file:
        for number, (name, text) in enumerate((*SAID, ("eve", "spam")), 1):
            raw = f"@id=m{number};tmi-sent-ts={began + number * 1000};display-name={name} :a!a@a PRIVMSG #demo :{text}"
            file.write(json.dumps({"r": 1, "m": 1, "l": raw}) + "\n")
        file.write(json.dumps({"l": f"@target-msg-id=m4;tmi-sent-ts={began + 9000} :t CLEARMSG #demo :spam"}) + "\n")


class ChatJob(Job):
    """A recording with a chat, of which all formats are wanted."""

    def __init__(self, folder: Path, source: Path) -> None:
        super().__init__(folder, source)
        self.chat = self.folder / "chat_7.jsonl.gz"
        self.told |= {
            "chat": str(self.chat),
            "started": 5_000_000,
            "policy": {"sidecars": ["ass", "vtt", "json", "text"]},
        }
        self.told["parts"][0]["onAir"] = [[0.0, 5_000.0, 2_500.0], [2_500.0, 7_000.0, 5_000.0]]
        chat_of(self.chat, 5_000)


def test_a_chat_is_beside_the_file_in_each_format_and_no_text_of_it_is_a_command(media: Path, tmp_path: Path) -> None:
    job = ChatJob(tmp_path, media / "all.ts")
    told = job.run("chat_beside")
    names = ["a b.ass", "a b.vtt", "a b-chat.json", "a b-chat.txt"]
    assert [Path(file["path"]).name for file in told["files"]] == names
    ass, vtt, root, text = ((job.folder / name).read_text() for name in names)
    assert ass.count("\nDialogue:") == vtt.count(" --> ") == text.count("\n") == len(SAID)
    assert [each["content_offset_seconds"] for each in json.loads(root)["comments"]] == [1.0, 2.5, 3.5]
    assert "spam" not in ass + vtt + root + text
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e]", ass + vtt + text)
    assert job.run("chat_beside") == told


def test_a_chat_that_is_not_packed_is_waited_for_and_one_that_is_not_there_is_none(
    media: Path, tmp_path: Path
) -> None:
    job = ChatJob(tmp_path, media / "all.ts")
    job.told |= {"chat": None, "isChatDue": True}
    assert job.run("chat_beside") == {"ok": False, "error": "its chat is not packed yet", "forGood": False}
    job.told["isChatDue"] = False
    told = job.run("chat_beside")
    assert (told["ok"], told["files"], told["notes"]) == (True, [], ["it has no chat"])


def test_a_chat_of_which_a_file_is_somebody_elses_has_the_others_and_a_damaged_one_none(
    media: Path, tmp_path: Path
) -> None:
    job = ChatJob(tmp_path, media / "all.ts")
    theirs = job.folder / "a b.ass"
    theirs.write_text("mine")
    told = job.run("chat_beside")
    assert (len(told["files"]), len(told["notes"]), theirs.read_text()) == (3, 1, "mine")
    job.chat.write_bytes(job.chat.read_bytes()[:-20])
    for file in told["files"]:
        Path(file["path"]).unlink()
    shutil.rmtree(job.spec.work)
    told = job.run("chat_beside")
    assert (told["ok"], told["forGood"]) == (False, True)
    assert "damaged" in told["error"]


def test_without_dates_of_the_media_a_chat_is_placed_by_the_recordings_start(media: Path, tmp_path: Path) -> None:
    job = ChatJob(tmp_path, media / "all.ts")
    del job.told["parts"][0]["onAir"]
    job.told["policy"] = {"library": "jellyfin"}
    [made] = job.run("chat_beside")["files"]
    assert Path(made["path"]).name == "a b.ass"
    assert "Dialogue: 0,0:00:03.00," in Path(made["path"]).read_text()
