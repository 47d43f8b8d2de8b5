# SPDX-License-Identifier: GPL-3.0-or-later
"""Which streamlink is used: a private one if there is one, else the configured command."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import sys
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Final

from streamvaultd.base.child import ask
from streamvaultd.errors import StreamlinkUnusable
from streamvaultd.recording.streamlink.command import OLDEST, Installation, parse_version, warning_about
from streamvaultd.recording.streamlink.trust import is_there, require_trusted
from streamvaultd.scopes.launcher import clean_environment, roots_of

VERSION_LIMIT: Final = 45.0
ALONE_LIMIT: Final = 10.0
"""So much longer may it take what asks, to begin and to end."""

NOWHERE: Final = Path("/nonexistent")
SHEBANG_MAX: Final = 4096


async def discover(
    command: Sequence[str], places: Sequence[Path], owners: Collection[int], read: Sequence[str] = ()
) -> Installation:
    """The private streamlink of the first place that has one, else the configured command.

    What others than `owners` could have written to is not run. `read` is what segments may read besides. It raises
    StreamlinkUnusable, which says what is wrong.
    """
    for place in places:
        if await asyncio.to_thread(is_there, place):
            folder = await asyncio.to_thread(require_trusted, place, owners)
            return await inspect((str(folder / "bin" / "streamlink"),), managed=True, read=read)
    return await inspect(tuple(command), managed=False, read=read)


async def inspect(command: tuple[str, ...], *, managed: bool, read: Sequence[str] = ()) -> Installation:
    """What this command is, by its own word; raises StreamlinkUnusable.

    It is asked as segments are confined, for nobody has looked into what is there.
    """
    text = " ".join(command)
    program = await asyncio.to_thread(shutil.which, command[0])
    if program is None:
        raise StreamlinkUnusable(command=text, why="there is no such program")
    found = (program, *command[1:])
    python = await asyncio.to_thread(python_of, program)
    own = await asyncio.to_thread(roots_for, found, python)
    output = await _output_of(*found, "--version", named=text, read=[*own, *read])
    version = parse_version(output)
    if version is None:
        raise StreamlinkUnusable(command=text, why=f"it answers '{output[:80].strip()}' to --version")
    if version < OLDEST:
        raise StreamlinkUnusable(command=text, why=f"version {version} is older than {OLDEST}")
    return Installation(
        command=found,
        version=version,
        python=python,
        managed=managed,
        warning=warning_about(version, managed=managed),
    )


async def _output_of(*argv: str, named: str, read: Sequence[str]) -> str:
    """What it prints; it runs alone, see scopes/alone.py."""
    question = json.dumps({"read": read, "limit": VERSION_LIMIT}).encode()
    try:
        asked = await ask(
            [sys.executable, "-I", "-m", "streamvaultd.scopes.alone", *argv],
            question=question,
            time_limit=VERSION_LIMIT + ALONE_LIMIT,
            environment=clean_environment(NOWHERE),
        )
    except OSError as error:  # a TimeoutError, too
        raise StreamlinkUnusable(command=named, why=error.strerror or str(error) or "it does not end") from error
    try:
        answer = json.loads(asked.output)
    except ValueError as error:
        raise StreamlinkUnusable(command=named, why="what asks it for its version has failed") from error
    if "error" in answer:
        raise StreamlinkUnusable(command=named, why=answer["error"])
    if not answer:
        raise StreamlinkUnusable(command=named, why=f"no answer within {VERSION_LIMIT:.0f} s")
    if answer["status"] != 0:
        raise StreamlinkUnusable(
            command=named, why=f"it ends with status {answer['status']} when asked for its version"
        )
    return str(answer["output"])


def roots_for(command: Sequence[str], python: str) -> tuple[str, ...]:
    """What a command has to read besides the system: its programs, and the Python they belong to."""
    return roots_of([command[0], *(word for word in command if word.startswith("/")), python])


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
