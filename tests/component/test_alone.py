# SPDX-License-Identifier: GPL-3.0-or-later
"""A streamlink is asked for its version confined: nothing is reached, and nothing is left of what it started.

Each has its control: the same program, run by nobody.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from pathlib import Path

import pytest

from streamvaultd.errors import StreamlinkUnusable
from streamvaultd.recording.streamlink import installation
from streamvaultd.recording.streamlink.command import Version
from streamvaultd.recording.streamlink.installation import discover

HOSTILE = """#!/bin/sh
reached=0
for try in 'cat {folder}/secret' 'touch {folder}/made' 'touch /tmp/made-{pid}' 'kill -0 {pid}' \\
    'python3 -I -c "import socket; socket.socket()"'; do
    eval "$try" >/dev/null 2>&1 && reached=$((reached + 1))
done
echo streamlink 8.6.$reached
"""
LINGERING = """#!/bin/sh
setsid sleep {seconds} >/dev/null 2>&1 &
echo streamlink 8.6.3
"""


def program(folder: Path, text: str) -> str:
    path = folder / "streamlink"
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def version_of(command: str, *read: str) -> Version:
    return asyncio.run(discover((command,), (), (), read)).version


def running(seconds: str) -> list[int]:
    """Processes that sleep for so long."""
    found = subprocess.run(["pgrep", "--full", "--exact", f"sleep {seconds}"], capture_output=True, check=False)
    return [int(pid) for pid in found.stdout.split()]


def test_the_question_for_a_version_reaches_nothing(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("token")
    command = program(tmp_path, HOSTILE.format(folder=tmp_path, pid=os.getpid()))
    found = version_of(command)
    alone = subprocess.run([command], capture_output=True, text=True, check=True).stdout
    Path(f"/tmp/made-{os.getpid()}").unlink()
    assert alone == "streamlink 8.6.5\n"
    assert found in {Version(8, 6, 0), Version(8, 6, 1)}, "signals are held back since Linux 6.12"


def test_it_reads_what_segments_may_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("token")
    text = f"#!/bin/sh\ncat {tmp_path}/secret >/dev/null && echo streamlink 8.6.3\n"
    command = program(tmp_path, text)
    with pytest.raises(StreamlinkUnusable, match="ends with status 1"):
        version_of(command)
    assert version_of(command, str(tmp_path)) == Version(8, 6, 3)


def test_nothing_is_left_of_what_was_asked(tmp_path: Path) -> None:
    seconds = f"6{os.getpid()}"
    command = program(tmp_path, LINGERING.format(seconds=seconds))
    version_of(command)
    assert running(seconds) == []
    subprocess.run([command], capture_output=True, check=True)
    while not (left := running(seconds)):
        pass
    for pid in left:
        os.kill(pid, signal.SIGKILL)


def test_what_does_not_answer_is_given_up_and_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = f"7{os.getpid()}"
    monkeypatch.setattr(installation, "VERSION_LIMIT", 1.0)
    command = program(tmp_path, f"#!/bin/sh\necho streamlink 8.6.3\nsetsid sleep {seconds}\n")
    with pytest.raises(StreamlinkUnusable, match="no answer within 1 s"):
        version_of(command)
    assert running(seconds) == []


def test_an_endless_answer_is_none(tmp_path: Path) -> None:
    with pytest.raises(StreamlinkUnusable, match="ends with status -13"):
        version_of(program(tmp_path, "#!/bin/sh\nexec cat /dev/zero\n"))
