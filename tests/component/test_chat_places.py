# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages beside their pictures, behind what a seam has cut and behind a hole: in JSON, WebVTT and ASS."""

from __future__ import annotations

import gzip
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from streamvaultd.jobs.chatlog.export import Wanted, export
from streamvaultd.jobs.join.main import JoinProgram
from tests.component.test_chapters import AT, FPS, job, make, pictures, shown_at
from tests.component.test_join_media import Source, ffmpeg

pytestmark = pytest.mark.timeout(600)  # real programs, on whatever machine

FRAMES = (55, 123, 205, 260, 330, 718, 760)
"""In the first capture, in what two have, behind each seam, behind 30 s that are missing, and later."""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return make(tmp_path_factory.mktemp("source"), 95_443.7 - 30.0)


def chat_of(path: Path) -> None:
    """Somebody says the number of each frame at the moment at which it is broadcast, and one message in the hole."""
    frames = (*FRAMES, 500)
    with gzip.open(path, "wt", encoding="utf-8") as file:
        for frame in frames:
            moment = AT + frame * 1000 // FPS
            line = f"@id=m{frame};tmi-sent-ts={moment};display-name=Ann :ann!a@a PRIVMSG #alice :frame {frame}"
            file.write(json.dumps({"r": moment * 1000, "m": 1, "l": line}) + "\n")


def exported(chat: Path, form: str, on_air: list[list[float]]) -> str:
    pieces, tally = export(
        Wanted(
            path=chat, form=form, on_air=[(at, began, length) for at, began, length in on_air], delay=0.0,
            streamer="alice", recording=1, channel="alice", title="t",
        )
    )  # fmt: skip
    text = "".join(pieces)
    assert (tally.messages, tally.outside) == (len(FRAMES) + 1, 0)
    return text


@pytest.mark.parametrize("dated", [True, False], ids=["dated", "undated"])
def test_after_a_rotation_a_kill_and_thirty_seconds_without(tmp_path: Path, source: Source, *, dated: bool) -> None:
    captures = ((source, range(22)), (source, range(19, 33)), (source, range(32, 41)), (source, range(71, 80)))
    spec = replace(job(tmp_path, *captures, dated=dated, titles=()), timed=True)
    assert JoinProgram(spec).run()
    report = json.loads(spec.report.read_text())
    (on_air,) = [part["onAir"] for part in report["parts"]]
    made, chat = Path(report["path"]), tmp_path / "chat.jsonl.gz"
    chat_of(chat)
    wanted = shown_at(made, source, tmp_path, *FRAMES)
    near = pytest.approx(wanted, abs=1.0)

    comments = json.loads(exported(chat, "json", on_air))["comments"]
    offsets = {each["message"]["body"]: each["content_offset_seconds"] for each in comments}
    assert [offsets[f"frame {frame}"] for frame in FRAMES] == near
    behind = offsets["frame 500"]
    first = next(at for at, _ in pictures(made) if at > wanted[4] + 20)
    assert behind == pytest.approx(first, abs=1.0)  # what was said in the hole is behind it

    for form in ("vtt", "ass"):
        file = tmp_path / f"chat.{form}"
        file.write_text(exported(chat, form, on_air))
        # Another program reads it, and says when each is shown
        shown = ffmpeg("-i", file, "-f", "srt", "-")
        found = dict(re.findall(r"(\d+:\d+:\d+),\d+ --> [^\n]*\n[^\n]*?frame (\d+)", shown))
        at = {int(frame): _seconds(clock) for clock, frame in found.items()}
        assert [at[frame] for frame in FRAMES] == near


def _seconds(clock: str) -> float:
    hours, minutes, seconds = map(int, clock.split(":"))
    return hours * 3600 + minutes * 60 + seconds
