# SPDX-License-Identifier: GPL-3.0-or-later
"""Which streamlink is used, and the private one under the state directory.

    <state>/streamlink/current -> versions/<time of its installation>    a virtual environment, used when present

What is installed are wheels alone, and by default those of a set that is known by checksum (requirements.lock). What
another user could have written to is not run.

Each installation gets a new folder, for running segments go on with theirs: streamlink imports parts of itself late.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import stat
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from streamvaultd.base.child import ask
from streamvaultd.errors import StreamlinkInstallFailed, StreamlinkUnusable
from streamvaultd.recording.streamlink.command import OLDEST, Installation, parse_version, warning_about

VERSION_LIMIT: Final = 20.0
INSTALL_LIMIT: Final = 600.0
SHEBANG_MAX: Final = 4096
LOCK: Final = Path(__file__).with_name("requirements.lock")
"""Every wheel of the set, with its checksum; 'make lock' writes it."""


async def discover(command: Sequence[str], state_dir: Path) -> Installation:
    """The managed streamlink if there is one, else the configured command. StreamlinkUnusable says what is wrong."""
    managed = state_dir / "streamlink" / "current"
    if managed.is_symlink():
        await asyncio.to_thread(require_own, state_dir / "streamlink")
        return await _inspect((str(managed.resolve() / "bin" / "streamlink"),), managed=True)
    return await _inspect(tuple(command), managed=False)


def require_own(root: Path) -> None:
    """Raise StreamlinkUnusable if `current` leads elsewhere, or somebody else may have written to what it leads to."""
    target = (root / "current").resolve()
    if target.parent != (root / "versions").resolve():
        raise StreamlinkUnusable(command=str(root / "current"), why=f"it leads to {target}, which is not below {root}")
    program = (target / "bin" / "streamlink").resolve()
    for path in (root, root / "versions", target, target / "bin", program):
        try:
            found = path.stat()
        except OSError as error:
            raise StreamlinkUnusable(command=str(path), why=error.strerror or str(error)) from error
        if found.st_uid not in (0, os.geteuid()) or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            why = "others may have written to it; 'streamvaultctl streamlink install' makes another one"
            raise StreamlinkUnusable(command=str(path), why=why)


async def install(
    state_dir: Path, version: str | None = None, *, hashes: bool = True, lock: Path = LOCK
) -> Installation:
    """Install streamlink from the Python Package Index and make it current: the set that is known by its checksums.

    Without `hashes` it is a version that is not known so, by default the newest. Wheels only, in each case.

    StreamlinkInstallFailed leaves what was current. pip writes to our stderr. Installations that no process uses
    are removed, except for the one that was current before.
    """
    folder = state_dir / "streamlink" / "versions" / datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
    try:
        await _make_environment(folder, _wanted(version, lock if hashes else None))
        installed = await _inspect((str(folder / "bin" / "streamlink"),), managed=True)
    except (OSError, StreamlinkUnusable, _Failed) as error:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        raise StreamlinkInstallFailed(version=version or "", why=str(error)) from error
    await asyncio.to_thread(_make_current, state_dir / "streamlink", folder)
    return installed


class _Failed(Exception):
    """A command ended with something else than success."""


def _wanted(version: str | None, lock: Path | None) -> tuple[str, ...]:
    """What pip is to install; _Failed for a version whose checksums are not known."""
    if lock is None:
        return ("--", "streamlink" if version is None else f"streamlink=={version}")
    if version is not None and f"streamlink=={version} " not in lock.read_text(encoding="ascii"):
        raise _Failed("its checksums are not known; '--no-hashes' installs it all the same")
    return ("--require-hashes", "--requirement", str(lock))


async def _make_environment(folder: Path, wanted: Sequence[str]) -> None:
    await asyncio.to_thread(folder.parent.mkdir, mode=0o750, parents=True, exist_ok=True)
    await _run(sys.executable, "-m", "venv", str(folder))
    pip = (str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--no-input")
    await _run(*pip, "install", "--no-cache-dir", "--only-binary=:all:", *wanted)


async def _run(*argv: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *argv, stdin=asyncio.subprocess.DEVNULL, stdout=sys.stderr, start_new_session=True
    )
    try:
        async with asyncio.timeout(INSTALL_LIMIT):
            status = await process.wait()
    except TimeoutError as error:
        raise _Failed(f"'{' '.join(argv[1:4])}' took longer than {INSTALL_LIMIT:.0f} s") from error
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):  # reaped, but the loop does not know yet
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if status != 0:
        raise _Failed(f"'{' '.join(argv[1:4])}' ended with status {status}")


async def _inspect(command: tuple[str, ...], *, managed: bool) -> Installation:
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


def _make_current(root: Path, folder: Path) -> None:
    """Flip the link in one step, then tidy up."""
    current = root / "current"
    previous = current.resolve() if current.is_symlink() else None
    fresh = root / ".current"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(folder.relative_to(root))
    fresh.rename(current)
    for old in (root / "versions").iterdir():
        if old.resolve() not in (folder.resolve(), previous) and not _is_used(old.resolve()):
            shutil.rmtree(old, ignore_errors=True)


def _is_used(folder: Path) -> bool:
    """Whether a process was started from this folder."""
    name = os.fsencode(folder) + b"/"
    for command in Path("/proc").glob("[1-9]*/cmdline"):
        try:
            if name in command.read_bytes():
                return True
        except OSError:
            continue  # it ended meanwhile
    return False
