# SPDX-License-Identifier: GPL-3.0-or-later
"""check and cleanup in a box, and ways to need them."""

from __future__ import annotations

import json
import shlex
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.integration.harness import Ctl, count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fakes.livesource import LiveSource
    from tests.testbed.box import Box

RECORDINGS = "/var/lib/streamvaultd/recordings"
STORE = "/var/lib/streamvaultd/streamvaultd.sqlite"
LOADED = ["systemctl", "list-units", "--all", "--plain", "--no-legend", "streamvault-*.scope"]
SQL = """
import json, sqlite3, sys
database = sqlite3.connect(sys.argv[1])
print(database.execute(sys.argv[2], json.loads(sys.argv[3])).fetchall())
database.commit()
"""


class Auditor:
    """check and cleanup in a box, and ways to need them."""

    def __init__(self, box: Box, ctl: Ctl) -> None:
        self.box = box
        self.ctl = ctl

    def check(self) -> dict[tuple[str, str], dict[str, Any]]:
        """The violations by kind and subject; the exit code says whether there are any."""
        done = self.ctl("check", "--json=short", check=False, timeout=90)
        assert done.stdout, done.stderr
        found = {(v["kind"], v["subject"]): v for v in json.loads(done.stdout)["violations"]}
        assert done.returncode == (1 if found else 0)
        return found

    def cleanup(self, *options: str) -> dict[str, Any]:
        """What was done, and what was not."""
        done = self.ctl("cleanup", "--json=short", *options, check=False, timeout=120)
        assert done.stdout, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        assert done.returncode == (1 if answer["errors"] else 0), answer
        return answer

    def sql(self, statement: str, *values: object) -> str:
        """As an administrator with sqlite3 would."""
        return self.box.run(["python3", "-c", SQL, STORE, statement, json.dumps(values)]).stdout

    def sh(self, script: str) -> str:
        return self.box.run(["sh", "-euc", script]).stdout

    def state_of_everything(self) -> str:
        """Names and sizes of files, rows and units: what a dry run must not change."""
        files = self.sh(f"find {RECORDINGS} -not -path '*/steady/*' -printf '%p %s\\n' | sort")
        rows = self.sql("SELECT id, status, state, recording_path FROM recordings ORDER BY id")
        streams = self.sql("SELECT id FROM streams ORDER BY id")
        units = self.sh("systemctl list-units --all --plain --no-legend 'streamvault-*.scope' | awk '{print $1, $3}'")
        return f"{files}\n{rows}\n{streams}\n{units}"


def wait_state(box: Box, ctl: Ctl, name: str, state: str) -> None:
    """Until the recording is in this state."""
    box.wait_for(lambda: ctl.state(name) == state, f"{name} is {state}", timeout=60)


def kinds(found: dict[tuple[str, str], dict[str, Any]]) -> list[str]:
    return sorted(kind for kind, _ in found)


def outcome(answer: dict[str, Any], kind: str) -> dict[str, Any]:
    """What became of the one violation of a kind."""
    [detail] = [detail for detail in answer["details"] if detail["violation"]["kind"] == kind]
    return dict(detail)


def finished(box: Box, ctl: Ctl, source: LiveSource, name: str) -> dict[str, Any]:
    """A recording that is over: what the daemon tells about it."""
    ctl("record", source.url(name), "--name", name)
    source.control(name, end=True)
    wait_state(box, ctl, name, "completed")
    return dict(ctl.recording(name))


def plant_media(auditor: Auditor, source: str, folder: str, name: str) -> None:
    """A copy of a file, as a segment that belongs to nobody."""
    path = f"{RECORDINGS}/{folder}"
    auditor.sh(f"mkdir -p {path}; cp {shlex.quote(source)} {path}/{name}; chown -R _streamvault: {RECORDINGS}/*/")


@contextmanager
def foreign_scope(box: Box, unit: str, *options: str) -> Iterator[None]:
    """A scope that the daemon did not make, with a process in it that does nothing."""
    command = ["systemd-run", "--scope", f"--unit={unit}", *options, "--quiet", "sleep", "1000"]
    with box.popen(command) as process:
        try:
            box.wait_for(lambda: unit in box.run(LOADED).stdout, "the scope is there")
            yield
        finally:
            process.kill()


class Steady(NamedTuple):
    """A recording that runs while other things happen."""

    recording: int
    channel: str


def begin_steady(box: Box, source: LiveSource, channel: str) -> Steady:
    """Begin it, by the name of 'steady'."""
    ctl = Ctl(box)
    ctl("record", source.url(channel), "--name", "steady")
    return Steady(ctl.recording("steady")["id"], channel)


def ends_undisturbed(box: Box, ctl: Ctl, source: LiveSource, steady: Steady) -> None:
    """It ends with its broadcast: in one segment, and every frame is there once."""
    assert len(ctl.segments("steady")) == 1
    source.control(steady.channel, end=True)
    wait_state(box, ctl, "steady", "completed")
    frames = count(box, ctl.recording("steady")["runtime"]["path"], source, steady.channel, first_segment=0)
    assert frames.is_perfect, frames
