# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks a program one short question without a scope, confined as what runs in scopes is, and without a network.

    python3 -I -m streamvaultd.scopes.alone COMMAND...

On stdin is a JSON object: read (a list of paths that the command may read besides the system), limit (seconds). The
answer is a JSON object on stdout: output (the first bytes of the command's) and status (its exit code, or minus the
signal), or error (why it could not be executed), or neither: it took too long. Of what the command started nothing is
left, whatever session it has taken.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from select import POLLIN, poll
from time import monotonic
from typing import Any, Final

from streamvaultd.scopes import confine, shim

OUTPUT_MAX: Final = 4096
PR_SET_CHILD_SUBREAPER: Final = 36


def ask(command: Sequence[str], read: Sequence[str], limit: float) -> dict[str, Any]:
    """Run it to its end, and to the end of its output."""

    def confined() -> None:
        shim.raise_oom_score()
        confine.confine(read=read, write=(), has_network=False)

    until = monotonic() + limit
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        preexec_fn=confined,
    )
    assert process.stdout is not None  # noqa: S101 - what Popen() makes of PIPE
    with process.stdout as pipe:
        output = _output_of(pipe.fileno(), until)
    status = process.wait(max(0.0, until - monotonic()))
    return {"status": status, "output": output.decode(errors="replace")}


def _output_of(fd: int, until: float) -> bytes:
    output = b""
    poller = poll()
    poller.register(fd, POLLIN)
    while len(output) < OUTPUT_MAX:
        if not poller.poll(max(0.0, until - monotonic()) * 1000):
            raise TimeoutError
        data = os.read(fd, OUTPUT_MAX - len(output))
        if not data:
            break
        output += data
    return output


def end_all() -> None:
    """Kill what is left of it: whose parent has ended is a child of this process."""
    while pids := _children():
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _children() -> list[int]:
    own = os.getpid()
    try:
        return [int(pid) for pid in Path(f"/proc/self/task/{own}/children").read_text().split()]
    except FileNotFoundError:  # a kernel without CONFIG_PROC_CHILDREN
        return [int(path.parent.name) for path in Path("/proc").glob("[1-9]*/stat") if _parent_of(path) == own]


def _parent_of(stat: Path) -> int | None:
    try:
        return int(stat.read_bytes().rpartition(b")")[2].split()[1])
    except OSError:  # it ended meanwhile, and is no child
        return None


def main(command: Sequence[str]) -> None:
    """See the head of this file."""
    given = json.load(sys.stdin)
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        answer = ask(command, given["read"], given["limit"])
    except OSError as error:  # of exec(2), or TimeoutError
        answer = {} if isinstance(error, TimeoutError) else {"error": error.strerror}
    except subprocess.TimeoutExpired:
        answer = {}
    finally:
        end_all()
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1:])
