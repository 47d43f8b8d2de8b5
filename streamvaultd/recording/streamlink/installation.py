# SPDX-License-Identifier: GPL-3.0-or-later
"""Which streamlink is used: a private one if there is one, else the configured command."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Final

from streamvaultd.base.child import ask
from streamvaultd.errors import StreamlinkUnusable
from streamvaultd.recording.streamlink.command import OLDEST, Installation, parse_version, warning_about
from streamvaultd.recording.streamlink.trust import is_there, require_trusted

VERSION_LIMIT: Final = 45.0
SHEBANG_MAX: Final = 4096


async def discover(command: Sequence[str], places: Sequence[Path], owners: Collection[int]) -> Installation:
    """The private streamlink of the first place that has one, else the configured command.

    What others than `owners` could have written to is not run. StreamlinkUnusable says what is wrong.
    """
    for place in places:
        if await asyncio.to_thread(is_there, place):
            folder = await asyncio.to_thread(require_trusted, place, owners)
            return await inspect((str(folder / "bin" / "streamlink"),), managed=True)
    return await inspect(tuple(command), managed=False)


async def inspect(command: tuple[str, ...], *, managed: bool) -> Installation:
    """What this command is, by its own word; raises StreamlinkUnusable."""
    text = " ".join(command)
    program = await asyncio.to_thread(shutil.which, command[0])
    if program is None:
        raise StreamlinkUnusable(command=text, why="there is no such program")
    output = await _output_of(program, *command[1:], "--version", named=text)
    version = parse_version(output)
    if version is None:
        raise StreamlinkUnusable(command=text, why=f"it answers '{output[:80].strip()}' to --version")
    if version < OLDEST:
        raise StreamlinkUnusable(command=text, why=f"version {version} is older than {OLDEST}")
    return Installation(
        command=(program, *command[1:]),
        version=version,
        python=await asyncio.to_thread(python_of, program),
        managed=managed,
        warning=warning_about(version, managed=managed),
    )


async def _output_of(*argv: str, named: str) -> str:
    try:
        answer = await ask(argv, time_limit=VERSION_LIMIT)
    except TimeoutError as error:
        raise StreamlinkUnusable(command=named, why=f"no answer within {VERSION_LIMIT:.0f} s") from error
    except OSError as error:
        raise StreamlinkUnusable(command=named, why=error.strerror or str(error)) from error
    if answer.status != 0:
        raise StreamlinkUnusable(command=named, why=f"it ends with status {answer.status} when asked for its version")
    return answer.output.decode(errors="replace")


def python_of(program: str) -> str:
    """The interpreter that a Python program runs with, by its first line; a program without one is taken for it.

    pip wraps an interpreter with a long path into a shell script, whose second line names it (distlib's scripts.py).
    """
    with Path(program).open("rb") as file:
        first, _, rest = file.read(SHEBANG_MAX).partition(b"\n")
    if not first.startswith(b"#!"):
        return program
    words = os.fsdecode(first[2:]).split()
    if words[:1] == ["/bin/sh"] and rest.startswith(b"'''exec' "):
        return os.fsdecode(rest).split("\n", 1)[0].removeprefix("'''exec' ").split(' "$0"')[0].strip('"')
    if len(words) == 2 and words[0].endswith("/env"):
        return shutil.which(words[1]) or words[1]
    return words[0] if words else program


def in_use(place: Path) -> list[str]:
    """Names of the installations of a place that a process of ours was started from."""
    found = []
    commands = list(_command_lines())
    for folder in (place / "versions").glob("*"):
        name = os.fsencode(folder) + b"/"
        if any(name in command for command in commands):
            found.append(folder.name)
    return found


def _command_lines() -> Iterator[bytes]:
    for path in Path("/proc").glob("[1-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            yield path.read_bytes()
