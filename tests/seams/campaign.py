# SPDX-License-Identifier: GPL-3.0-or-later
"""A campaign in a box: each recording in a thread of its own, from its first media to its joined file."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.fakes.media import MediaSpec, ensure_media
from tests.integration.harness import configure
from tests.seams.account import Away, Facts
from tests.testbed.frames import count_frames
from tests.testbed.recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.fakes.channel import Channel
    from tests.fakes.livesource import LiveSource
    from tests.seams.plan import Plan, Step, Take
    from tests.testbed.box import Box
    from tests.testbed.frames import FrameCount

LATE: Final = "/usr/local/bin/late-streamlink"
LATE_FOLDER: Final = "/var/lib/late-streamlink"
# Begins to run as late as the file of its channel says, on the clock that box and host share.
LATE_PROGRAM: Final = f"""#!/usr/bin/python3
import os, pathlib, re, sys, time
for word in sys.argv:
    if word.startswith("--config="):
        url = re.search(r"^url=.*/([^/]+)/[a-z]+\\.m3u8$", pathlib.Path(word[9:]).read_text(), re.MULTILINE)
        file = pathlib.Path("{LATE_FOLDER}", url[1])
        if file.exists():
            time.sleep(max(0.0, float(file.read_text()) - time.monotonic()))
os.execv("/usr/bin/streamlink", ["streamlink", *sys.argv[1:]])
"""
SETTINGS: Final = f"""
[recording]
grace = "5s"
start_timeout = "60s"
stall_timeout = "60s"
[rotation]
overlap_limit = "20s"
[streamlink]
command = "{LATE}"
read = ["{LATE_FOLDER}"]
"""
SLOW_RATE: Final = 50_000
"""Bytes a second: a media segment takes more than a second."""
QUIET: Final = 1.0
"""Seconds after which what was received before an outage is in the file."""
LIMIT: Final = 600.0
LOOK: Final = 0.1


class SeamsError(AssertionError):
    """A recording did not come to where it should."""


@dataclass(slots=True)
class Stage(Recorder):
    """What all recordings of a campaign share."""

    source: LiveSource
    say: Callable[[str], None]
    began: float = field(default_factory=time.monotonic)


def run(box: Box, source: LiveSource, plan: Plan, say: Callable[[str], None] = print) -> list[Facts]:
    """Everything, from the settings to the counts; recordings go on whatever happens to another."""
    box.write_file(LATE, LATE_PROGRAM)
    box.run(["chmod", "755", LATE])
    box.run(["mkdir", "-p", "-m", "755", LATE_FOLDER])
    configure(box, SETTINGS)
    box.run(["systemctl", "restart", "streamvaultd"])
    for take in plan.takes:
        ensure_media(replace(source.spec, kind=take.kind))
    stage = Stage(box, source, say)
    with ThreadPoolExecutor(len(plan.takes)) as pool:
        performances = [Performance(stage, take) for take in plan.takes]
        return [future.result() for future in [pool.submit(each.play) for each in performances]]


def media_for(plan: Plan) -> MediaSpec:
    """Media that last longer than the campaign."""
    return MediaSpec(seconds=-(-plan.seconds // 300) * 300)


class Performance:
    """One recording of a campaign."""

    def __init__(self, stage: Stage, take: Take) -> None:
        self._stage = stage
        self._take = take
        self._returns: list[float] = []
        """when the source was back after each absence"""

    @property
    def _channel(self) -> Channel:
        return self._stage.source.channels[self._take.name]

    def play(self) -> Facts:
        """All steps, the end, and what came of them."""
        why = ""
        try:
            self._begin()
            for number, step in enumerate(self._take.steps):
                self._wait_offered(step.due)
                time.sleep(step.pause)
                {"rotate": self._rotate, "kill": self._kill, "away": self._be_away}[step.kind](step)
                self._say(f"{number + 1}/{len(self._take.steps)} {step.kind} {step.signal}")
            self._wait_offered(self._take.until)
            self._end()
        except SeamsError as error:
            why = str(error)
            self._say(why)
        return self._facts(why)

    def _say(self, text: str) -> None:
        self._stage.say(f"{time.monotonic() - self._stage.began:7.2f}  {self._take.name}: {text}")

    # --- what is done ----------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        take = self._take
        self._stage.source.control(take.name, kind=take.kind, window=take.window, speed=take.speed)
        url = self._stage.source.url(take.name, "master" if take.kind == "separate" else "live")
        self._stage.call("Record", url=self._stage.box.reach(url), name=take.name)
        self._wait_recording(after=0)

    def _end(self) -> None:
        self._stage.source.control(self._take.name, fault=None, end=True)
        self._wait(lambda now: now["state"] in ("completed", "stopped", "failed"), "is joined")

    def _rotate(self, step: Step) -> None:
        before = self._wait_recording(after=0)
        self._stage.call("Rotate", recording=self._take.name)
        self._wait_recording(after=before)

    def _kill(self, step: Step) -> None:
        before = self._wait_recording(after=0)
        name, control = self._take.name, self._stage.source.control
        if step.mid_chunk is not None:
            control(name, fault="slow", on="media", rate=SLOW_RATE)
            self._channel.wait_dripping(timeout=2.0 * self._channel.media.spec.segment)
            time.sleep(step.mid_chunk)
        if step.where == "source":
            control(name, fault="drop", for_=step.outage)
        else:
            (self._stage.box.path(LATE_FOLDER) / name).write_text(str(time.monotonic() + step.outage))
        self._strike(step.signal)
        if step.where != "source":
            control(name, fault=None)
        self._wait_recording(after=before)

    def _be_away(self, step: Step) -> None:
        """The source goes first, so that what was fetched before is in the file."""
        before = self._wait_recording(after=0)
        self._returns.append(time.monotonic() + step.outage)
        self._stage.source.control(self._take.name, fault="drop", for_=step.outage)
        time.sleep(QUIET)
        self._strike(step.signal)
        self._wait_recording(after=before, limit=step.outage + LIMIT)

    def _strike(self, name: str) -> None:
        """Kill the streamlink of the segment that records; one that is gone by itself is dead as well.

        That need not be the last one: a rotation whose launch failed has a number, too.
        """
        segments = self._stage.call("ListSegments", recording=self._take.name)["segments"]
        running = next((each for each in reversed(segments) if each["phase"] == "writing"), segments[-1])
        if pid := self._stage.streamlink(running["unit"]):
            os.kill(pid, getattr(signal, f"SIG{name}"))

    # --- what is waited for ----------------------------------------------------------------------------------------

    def _wait(self, is_so: Callable[[dict[str, Any]], bool], what: str, limit: float = LIMIT) -> dict[str, Any]:
        """How the recording is, once it is so."""
        deadline = time.monotonic() + limit
        while True:
            now: dict[str, Any] = self._stage.call("Get", recording=self._take.name)["recording"]["runtime"]
            if is_so(now):
                return now
            if time.monotonic() > deadline:
                raise SeamsError(f"{what}: not within {limit:.0f} s, it is {now['state']} ({now.get('detail')})")
            time.sleep(LOOK)

    def _wait_offered(self, count: int) -> None:
        """Until the broadcast has offered so many media segments."""
        if count:
            time.sleep(max(0.0, self._channel.offered_at(count - 1) - time.monotonic()))

    def _wait_recording(self, *, after: int, limit: float = LIMIT) -> int:
        """Until a segment later than that one has media and nothing is under way; how many there are."""
        segments: int = self._wait(
            lambda now: now["state"] == "recording" and now["segments"] > after, f"records after {after}", limit
        )["segments"]
        return segments

    # --- what came of it -------------------------------------------------------------------------------------------

    def _facts(self, why: str) -> Facts:
        name, call = self._take.name, self._stage.call
        recording = call("Get", recording=name)["recording"]["runtime"]
        paths = [part["path"] for part in call("ListParts", recording=name)["parts"]]
        channel = self._channel
        files = [self._stage.box.path(path) for path in paths]
        offered = range(min(channel.delivered), channel.last() + 1)
        return Facts(
            take=self._take,
            state=recording["state"],
            why=why,
            causes={
                each["number"]: each.get("cause", "") for each in call("ListSegments", recording=name)["segments"]
            },
            seams=tuple(self._stage.seams(name)),
            parts=len(paths),
            counts={track: _count(files, channel, track, offered) for track in channel.media.tracks if files},
            absences=tuple(absences(channel, self._returns)),
            starts={track: channel.media.index(track).starts for track in channel.media.tracks},
        )


def absences(channel: Channel, returns: Sequence[float]) -> Iterator[Away]:
    """What was given away last before each return of the source, and first after it; known when all is over: two are
    fetched at a time, and the first one may come to its end after the second.
    """
    for back in returns:
        last = max(each.segment for each in channel.deliveries if each.at < back)
        after = [each for each in channel.deliveries if each.at >= back]
        if after:
            first = min(after, key=lambda each: each.segment)
            yield Away(last, first.segment, channel.withdrawn_at(first.segment - 1) <= first.at)


def _count(files: list[Path], channel: Channel, track: str, offered: range) -> FrameCount:
    """Of one track; a recording begins with what its first capture found."""
    first, last = offered[0], offered[-1]
    return count_frames(files, channel.media, track=track, first_segment=first, last_segment=last)
