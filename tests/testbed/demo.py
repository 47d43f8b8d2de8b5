# SPDX-License-Identifier: GPL-3.0-or-later
"""make demo: a live broadcast, recorded on a real systemd with a rotation and a killed segment, and joined."""

from __future__ import annotations

import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.fakes.livesource import LiveSource
from tests.integration.harness import CONFIG, Ctl, configure, scopes, streamlink_pid
from tests.testbed import layers, setup
from tests.testbed.box import Box, BoxError
from tests.testbed.frames import count_frames
from tests.testbed.machine import Host, Machine, RunError, WaitError

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "demo"
KEPT = setup.PROJECT / "dist" / "demo"
BUILD_LOG = setup.PROJECT / "build" / "logs" / "demo-build.log"
# How much broadcast passes between two events, in media segments of 2 s.
PACE = 4


def demo(*, on_host: bool) -> int:
    """Tell the story from the build to the counted frames; 0 when not one frame is lost or repeated."""
    setup.ensure_tools(tests=False)
    say("Building the package (the first time a Debian is put together for it, which takes two minutes)")
    deb = build_deb()
    print(f"  {deb}")
    say("Making ten minutes of media for the live source, unless they are there")
    with LiveSource() as source, machine(deb, on_host=on_host) as there:
        return tell(Story(there, source))


def build_deb() -> Path:
    """The .deb of this tree, built in silence; its path."""
    BUILD_LOG.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tests.testbed", "deb"]
    with BUILD_LOG.open("w") as log:
        done = subprocess.run(command, cwd=setup.PROJECT, check=False, stdout=log, stderr=log)
    lines = BUILD_LOG.read_text().splitlines()
    if done.returncode != 0:
        print(*lines[-40:], sep="\n")
        raise BoxError(f"cannot build the package, see {BUILD_LOG}")
    return Path(lines[-1])


@contextmanager
def machine(deb: Path, *, on_host: bool) -> Iterator[Machine]:
    """A machine that runs systemd and has the package installed and configured for a short demo."""
    if on_host:
        if not Path("/run/systemd/system").is_dir():
            raise BoxError("cannot use this host: its PID 1 is not systemd; 'make demo' without HOST=1 needs none")
        say("Installing the package on this host")
        setup.install([str(deb)])
        there: Machine = Host()
        configure(there)
        there.run(["systemctl", "restart", "streamvaultd"])
        try:
            yield there
        finally:
            Path(CONFIG).unlink()
            there.run(["systemctl", "reload", "streamvaultd"])
            print("  the package stays installed: 'apt-get purge streamvaultd' removes it")
    else:
        say("Booting Debian 13 with systemd as PID 1 and the package installed, in namespaces of this machine")
        with Box(NAME, layers.installed(deb)) as box:
            configure(box)
            box.run(["systemctl", "restart", "streamvaultd"])
            yield box


class Story:
    """What happens in the demo, each step shown as the command that a user would type and its answer."""

    def __init__(self, there: Machine, source: LiveSource, name: str = NAME) -> None:
        self.there = there
        self.source = source
        self.ctl = Ctl(there)
        self.name = name
        self.url = source.url(name)

    def show(self, *command: str) -> None:
        """Run a command in the machine and print it with its output."""
        print(f"\n  # {' '.join(command)}", flush=True)
        done = self.there.run(list(command))
        for line in (done.stderr + done.stdout).splitlines():
            print(f"  {line}", flush=True)

    def watch(self) -> None:
        """Let some of the broadcast pass."""
        goal = self.source.state(self.name)["last"] + PACE
        self.there.wait_for(lambda: self.source.state(self.name)["last"] >= goal, "the broadcast goes on", timeout=60)

    def wait_segment(self, number: int) -> None:
        """Until this segment is the only one that runs, and writes."""

        def is_alone() -> bool:
            running = [segment for segment in self.ctl.segments(self.name) if not segment.get("endedAt")]
            return [(segment["number"], segment["phase"]) for segment in running] == [(number, "writing")]

        self.there.wait_for(is_alone, f"segment {number} writes", timeout=60)


def tell(story: Story) -> int:
    """The story itself."""
    ctl, there = story.ctl, story.there
    story.show("systemctl", "--version")
    say("A live broadcast begins, and streamvaultd records it")
    story.show("streamvaultctl", "record", story.url, "--name", NAME)
    recording = ctl.recording(NAME)["id"]
    waiting = there.popen(["streamvaultctl", "monitor", NAME], stderr=subprocess.DEVNULL)
    try:
        story.watch()
        story.show("systemctl", "list-units", "--no-pager", "--no-legend", "streamvault*")
        story.show("streamvaultctl", "status", NAME, "--no-pager")

        say("A rotation: the next segment writes before the present one is asked to stop")
        story.show("streamvaultctl", "rotate", NAME, "--wait")
        story.wait_segment(2)
        story.watch()
        story.show("streamvaultctl", "segments", NAME, "--no-pager")

        say("Somebody kills streamlink: a new segment of the same recording takes over")
        pid = streamlink_pid(there, scopes(there)[0])
        story.show("kill", "-KILL", str(pid))
        story.wait_segment(3)
        story.watch()
        story.show("streamvaultctl", "segments", NAME, "--no-pager")

        say("The broadcast ends: the segments are joined")
        story.source.control(NAME, end=True)
        there.wait_for(lambda: ctl.state(NAME) in ("completed", "failed"), "it is joined", timeout=120)
        story.show("streamvaultctl", "list", "--all", "--no-pager")
    finally:
        waiting.kill()
        out, _ = waiting.communicate()
    say("What 'streamvaultctl monitor' saw meanwhile")
    print(*(f"  {line}" for line in out.decode(errors="replace").splitlines()), sep="\n")
    story.show("journalctl", "--no-pager", "--output=short", f"STREAMVAULT_RECORDING={recording}", "--lines=12")
    return result(story)


def result(story: Story) -> int:
    """Bring the joined file home and count its frames."""
    runtime = story.ctl.recording(NAME)["runtime"]
    if runtime["state"] != "completed":
        print(f"the recording is {runtime['state']}: {runtime.get('detail')}")
        return 1
    KEPT.mkdir(parents=True, exist_ok=True)
    kept = Path(shutil.copy(story.there.path(runtime["path"]), KEPT))
    last = story.source.state(NAME)["last"]
    frames = count_frames(kept, story.source.channels[NAME].media, first_segment=0, last_segment=last)
    say("The joined file, and its frames against what the source has offered")
    print(f"  {kept}")
    print(f"  duration: {duration(kept):.1f} s")
    print(f"  {frames}")
    return 0 if frames.is_perfect else 1


def duration(file: Path) -> float:
    """Seconds, as ffprobe finds them."""
    command = ["ffprobe", "-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", str(file)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def say(text: str) -> None:
    print(f"\n== {text}", flush=True)


def main(*, on_host: bool) -> int:
    """The demo, with its failures as one line."""
    try:
        return demo(on_host=on_host)
    except (RunError, WaitError) as error:
        print(f"the demo failed: {error}", file=sys.stderr)
        return 1
