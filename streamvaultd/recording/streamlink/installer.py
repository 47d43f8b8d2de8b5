# SPDX-License-Identifier: GPL-3.0-or-later
"""The process that installs streamlink: streamvault-install@.service, one instance for each installation.

It has a user of its own, and neither credentials nor recordings. It reads one line of JSON, says in one line what came
of it, and ends; when the other side hangs up, it ends at once and leaves everything as it was.

    {"version": …, "hashes": …, "keep": […]} → {"why": …}; `why` is "" when it is installed

What is installed are wheels alone, and by default those of a set that is known by checksum (requirements.lock). Each
installation gets a new folder, for running segments go on with theirs: streamlink imports parts of itself late. Who
asks says which folders are in use.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import re
import shutil
import signal
import socket
import sys
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NoReturn

import msgspec

from streamvaultd.errors import StreamlinkUnusable
from streamvaultd.recording.streamlink.installation import inspect

INSTALL_LIMIT: Final = 600.0
"""Seconds that all of it may take."""

LINE_MAX: Final = 64 << 10
TAIL: Final = 8 << 10
"""Bytes at the end of pip's output that are looked at for an error."""

VERSION: Final = re.compile(r"[0-9][0-9A-Za-z.!+]{0,63}", re.ASCII)
LOCK: Final = Path(__file__).with_name("requirements.lock")
"""Every wheel of the set, with its checksum; 'make lock' writes it."""


class Question(msgspec.Struct, frozen=True):
    """What is to be installed: the set that is known, this version of it, or with `hashes` off any one."""

    version: str | None = None
    hashes: bool = True
    keep: tuple[str, ...] = ()


class InstallAnswer(msgspec.Struct, frozen=True):
    """`why` it is not installed, "" if it is."""

    why: str


class _Failed(Exception):
    """Nothing was installed."""


async def serve(sock: socket.socket, place: Path, lock: Path = LOCK) -> None:
    """Answer one question."""
    reader, writer = await asyncio.open_unix_connection(sock=sock, limit=LINE_MAX)
    question = msgspec.json.decode(await reader.readuntil(b"\n"), type=Question)
    work = asyncio.create_task(install(place, question, lock))
    hangup = asyncio.create_task(reader.read(1))
    await asyncio.wait((work, hangup), return_when=asyncio.FIRST_COMPLETED)
    for task in (work, hangup):
        if not task.done():
            task.cancel()
            await asyncio.wait((task,))
    if not work.cancelled():
        writer.write(msgspec.json.encode(InstallAnswer(why=work.result())) + b"\n")
        with contextlib.suppress(OSError):
            await writer.drain()
    writer.close()


async def install(place: Path, question: Question, lock: Path = LOCK) -> str:
    """Install streamlink from the Python Package Index and make it current; why it could not be done, or "".

    What was current stays in that case. pip's words go to stderr. Of older installations those in `keep` and the one
    that was current before are kept.
    """
    folder = place / "versions" / datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
    try:
        with _alone(place):
            try:
                async with asyncio.timeout(INSTALL_LIMIT):
                    await _make_environment(folder, _wanted(question, lock))
                    await inspect((str(folder / "bin" / "streamlink"),), managed=True)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            before = _make_current(place, folder)
            _tidy_up(place, {folder.name, before, *question.keep})
    except TimeoutError:
        return f"it took longer than {INSTALL_LIMIT:.0f} s"
    except (OSError, StreamlinkUnusable, _Failed) as error:
        return str(error)
    return ""


@contextlib.contextmanager
def _alone(place: Path) -> Iterator[None]:
    """_Failed while another process is installing."""
    fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _Failed("another installation is under way; try again when it is done") from None
        yield
    finally:
        os.close(fd)


def _wanted(question: Question, lock: Path) -> tuple[str, ...]:
    """What pip is to install; _Failed for a version whose checksums are not known."""
    version = question.version
    if version is not None and not VERSION.fullmatch(version):
        raise _Failed(f"'{version[:64]}' is no version")
    if not question.hashes:
        return ("--", "streamlink" if version is None else f"streamlink=={version}")
    if version is not None and f"streamlink=={version} " not in lock.read_text(encoding="ascii"):
        raise _Failed("its checksums are not known; '--no-hashes' installs it all the same")
    return ("--require-hashes", "--requirement", str(lock))


async def _make_environment(folder: Path, wanted: Sequence[str]) -> None:
    folder.parent.mkdir(mode=0o755, exist_ok=True)
    await _run(sys.executable, "-m", "venv", str(folder))
    pip = (str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--no-input")
    await _run(*pip, "install", "--no-cache-dir", "--progress-bar=off", "--only-binary=:all:", *wanted)


async def _run(*argv: str) -> None:
    """Run a command, whose output is passed on to stderr; _Failed says how it ended, and pip's last error."""
    process = await asyncio.create_subprocess_exec(
        *argv, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )  # fmt: skip
    try:
        told = await _pass_on(process.stdout) if process.stdout else ""
        status = await process.wait()
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):  # reaped, but the loop does not know yet
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if status != 0:
        raise _Failed(f"'{' '.join(argv[1:4])}' ended with status {status}{told}")


async def _pass_on(output: asyncio.StreamReader) -> str:
    """Copy lines to stderr until there are no more; the last one that tells of an error."""
    tail = b""
    while chunk := await output.read(TAIL):
        sys.stderr.buffer.write(chunk)
        sys.stderr.flush()
        tail = (tail + chunk)[-TAIL:]
    errors = [line for line in tail.decode(errors="replace").splitlines() if line.startswith("ERROR: ")]
    return f": {errors[-1].removeprefix('ERROR: ')}" if errors else ""


def _make_current(place: Path, folder: Path) -> str:
    """Flip the link in one step; the name of the installation that was current before."""
    current, fresh = place / "current", place / ".current"
    before = current.readlink().name if current.is_symlink() else ""
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(folder.relative_to(place))
    fresh.rename(current)
    return before


def _tidy_up(place: Path, keep: Collection[str]) -> None:
    for old in (place / "versions").iterdir():
        if old.name not in keep:
            shutil.rmtree(old, ignore_errors=True)


def main() -> NoReturn:
    """Answer the question on stdin, into the folder that systemd has made."""
    os.umask(0o022)
    sock = socket.socket(fileno=os.dup(0))
    os.dup2(2, 1)  # what a library prints must not get between
    with contextlib.suppress(asyncio.IncompleteReadError, asyncio.LimitOverrunError, msgspec.DecodeError):
        asyncio.run(serve(sock, Path(os.environ["STATE_DIRECTORY"])))
    sys.exit(0)
