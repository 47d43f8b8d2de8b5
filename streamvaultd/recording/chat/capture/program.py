# SPDX-License-Identifier: GPL-3.0-or-later
"""The process that captures a chat: from a server's lines to lines of JSON on its standard output, and no further.

Standard input is one JSON object: host, port, channel, ca (a file of certificates to trust instead of the system's,
or ""), status and turn (descriptors, or null). The server's certificate and name are always verified.

Each line is {"r": microseconds since 1970, "m": microseconds of CLOCK_MONOTONIC, "l": the raw line}; "b" instead of
"l", in base64, for one that is no UTF-8; and "e" for what happened to the capture itself: begun, joined (away: seconds
without), lost. The output is only ever added to, synced every few seconds, and its last line may be torn by a crash:
what adds to it later begins with an empty line, which means nothing.

`status` is a file of STATUS_SIZE bytes that is written over: a JSON object, padded with blanks.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import ssl
import sys
import time
from base64 import b64encode
from contextlib import suppress

from streamvaultd.base.irc import IrcSplitter, parse
from streamvaultd.recording.chat.capture import machine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

CONNECT_LIMIT: Final = 20.0
READ_SIZE: Final = 64 << 10

BUFFER_MAX: Final = 4 << 20
"""Bytes that wait for the disk; while there are more nothing is read from the server, which waits, or hangs up."""

UNSENT_MAX: Final = 64 << 10
"""Bytes of answers that a server does not take; one that asks and never listens is hung up on."""

BATCH: Final = 0.25
"""What comes within this time (s) is written at once."""

SYNC_INTERVAL: Final = 5.0
DISK_PAUSE: Final = 2.0
"""When the disk takes nothing, it is tried again after so long (s)."""

STATUS_SIZE: Final = 512

QUIET: Final = 0.25
SETTLE_LIMIT: Final = 5.0
"""When TERM comes, what the server has sent is read until nothing came for so long (s), or for this."""

FIRST_LIMIT: Final = 30.0
"""Who is not in the channel after so long (s) has missed something; before, it has just begun."""

LOGIN_SPACING: Final = 0.6
"""Seconds between two logins of all captures of this host; Twitch allows 20 in 10 s."""

TURN_MAX: Final = 240.0
"""However many are in front, or say that they are, no turn is waited for longer (s)."""


LOCK_TRIES, LOCK_PAUSE = 20, 0.01
"""Who holds the file of turns lets go of it at once; who does not is not waited for."""


def now() -> float:
    """Seconds of the clock that the machine goes by."""
    return time.monotonic()


class Output:
    """What is to be written, and what of it is on the disk. Writing and syncing take place in a thread."""

    def __init__(self, fd: int, status: int | None) -> None:
        self._fd = fd
        self._status = status
        self._waiting: list[bytes] = []
        self._size = 0
        self._has_some = asyncio.Event()
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._synced = now()
        self._is_dirty = False
        self._is_closing = False
        self.facts: dict[str, Any] = {
            "messages": 0, "last": None, "joined": False, "gaps": 0, "away": 0.0, "since": None
        }  # fmt: skip
        if os.fstat(fd).st_size:
            self._add(b"\n")

    def line(self, raw: bytes, *, is_message: bool) -> None:
        """Keep a line that was received now."""
        stamp = self._stamp()
        if is_message:
            self.facts["messages"] += 1
            self.facts["last"] = stamp["r"]
        try:
            stamp["l"] = raw.decode()
        except UnicodeDecodeError:
            stamp["b"] = b64encode(raw).decode()
        self._json(stamp)

    def event(self, what: str, **fields: object) -> None:
        """Keep what happened to the capture."""
        self._json({**self._stamp(), "e": what, **fields})

    def _stamp(self) -> dict[str, Any]:
        return {"r": time.time_ns() // 1000, "m": time.monotonic_ns() // 1000}

    def _json(self, content: dict[str, Any]) -> None:
        self._add(json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")

    def _add(self, data: bytes) -> None:
        self._waiting.append(data)
        self._size += len(data)
        self._has_some.set()
        if self._size > BUFFER_MAX:
            self._has_room.clear()

    @property
    def has_room(self) -> bool:
        """Whether something may be read."""
        return self._has_room.is_set()

    async def room(self) -> None:
        """Wait until the disk has taken enough."""
        await self._has_room.wait()

    async def run(self) -> None:
        """Write what there is until close(), and then all the rest."""
        while not self._is_closing:
            with suppress(TimeoutError):
                async with asyncio.timeout(SYNC_INTERVAL if self._is_dirty else None):
                    await self._has_some.wait()
                    await asyncio.sleep(BATCH)
            await self._flush(sync=self._is_closing or now() - self._synced >= SYNC_INTERVAL)
        await self._flush(sync=True)

    def close(self) -> None:
        """Nothing follows."""
        self._is_closing = True
        self._has_some.set()

    async def _flush(self, *, sync: bool) -> None:
        """Write all that waits; tries again when the disk takes nothing."""
        data, self._waiting, self._size = b"".join(self._waiting), [], 0
        if not self._is_closing:
            self._has_some.clear()
        self._is_dirty = self._is_dirty or bool(data)
        status = json.dumps(self.facts).encode()[:STATUS_SIZE].ljust(STATUS_SIZE)
        while data:
            data = await asyncio.to_thread(self._write, data)
            if data:
                await asyncio.sleep(DISK_PAUSE)
        if self._size <= BUFFER_MAX:
            self._has_room.set()
        await asyncio.to_thread(self._note, status, sync=sync)
        if sync:
            self._synced, self._is_dirty = now(), False

    def _write(self, data: bytes) -> bytes:
        """What is left of it."""
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._fd, view) :]
            except OSError as error:
                print(f"error: cannot write the chat: {error.strerror}", file=sys.stderr, flush=True)
                return bytes(view)
        return b""

    def _note(self, status: bytes, *, sync: bool) -> None:
        with suppress(OSError):
            if self._status is not None:
                os.pwrite(self._status, status, 0)
            if sync:
                os.fdatasync(self._fd)


async def take_turn(fd: int | None) -> None:
    """Wait for this one's turn among all captures of the host, which share the file. It holds the instant of the next.

    What another one has written there may delay a login, and not prevent it.
    """
    if fd is None:
        return
    for _ in range(LOCK_TRIES):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            await asyncio.sleep(LOCK_PAUSE)
        else:
            break
    wait = 0.0
    with suppress(OSError, ValueError):
        try:
            text = os.pread(fd, 32, 0).strip()
            turn = max(now(), min(float(text or b"0"), now() + TURN_MAX))
            os.pwrite(fd, b"%-32.3f" % (turn + LOGIN_SPACING), 0)
            wait = turn - now()
        finally:
            fcntl.flock(fd, fcntl.LOCK_UN)
    await asyncio.sleep(max(0.0, wait))


class Capture:
    """Does what the machine says, and tells it what came of it."""

    def __init__(self, spec: dict[str, Any], output: Output) -> None:
        self._spec = spec
        self._output = output
        self._context = ssl.create_default_context(cafile=spec["ca"] or None)
        self._writers: dict[int, asyncio.StreamWriter] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._group = asyncio.TaskGroup()
        self._came = b"", ""  # the line that the machine is being told, and its command
        self._changed = asyncio.Event()
        self._received = asyncio.Event()
        self._state, self._first = machine.begin(spec["channel"], *_chance(), now())

    async def run(self) -> None:
        """Connect, and wake the machine when it wants to be, until cancelled. A defect anywhere ends it."""
        self._output.event("begun", channel=self._state.channel)
        async with self._group:
            self._perform(self._first)
            while True:
                self._changed.clear()
                wait = machine.due(self._state) - now()
                try:
                    async with asyncio.timeout(max(0.0, wait)):
                        await self._changed.wait()
                except TimeoutError:
                    if not self._output.has_room:
                        self._tell(machine.Held(now()))
                    self._tell(machine.Tick(now()))

    async def settle(self) -> None:
        """Read what has been sent by now."""
        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_LIMIT):
                while True:
                    self._received.clear()
                    async with asyncio.timeout(QUIET):
                        await self._received.wait()

    def close(self) -> None:
        """Nothing is heard any more: what was missed until now counts."""
        if self._state.away is not None:
            self._count(now() - self._state.away)

    def _tell(self, event: machine.Event) -> None:
        self._state, effects = machine.step(self._state, event)
        self._changed.set()
        self._perform(effects)

    def _perform(self, effects: machine.Effects) -> None:
        for effect in effects:
            match effect:
                case machine.Open(number):
                    self._tasks[number] = self._group.create_task(self._link(number))
                case machine.Send(number, text):
                    self._send(number, text)
                case machine.Close(number):
                    self._tasks[number].cancel()
                case machine.Keep():
                    raw, command = self._came
                    self._output.line(raw, is_message=command in ("PRIVMSG", "USERNOTICE"))
                case machine.Found(away):
                    self._on_found(now() - away)
                case machine.Lost():
                    self._output.facts |= {"joined": False, "since": time.time_ns() // 1000}
                    self._output.event("lost")

    def _on_found(self, away: float) -> None:
        self._count(away)
        self._output.facts |= {"joined": True, "since": time.time_ns() // 1000}
        self._output.event("joined", away=round(away, 3))

    def _count(self, away: float) -> None:
        facts = self._output.facts
        if facts["since"] is not None or away > FIRST_LIMIT:
            facts |= {"gaps": facts["gaps"] + 1, "away": round(facts["away"] + away, 3)}

    def _send(self, number: int, text: str) -> None:
        writer = self._writers.get(number)
        if writer is not None:
            if writer.transport.get_write_buffer_size() > UNSENT_MAX:
                writer.transport.abort()
            else:
                writer.write(f"{text}\r\n".encode())

    async def _link(self, number: int) -> None:
        try:
            await self._converse(number)
        except (OSError, EOFError, ValueError) as error:  # certificates and time limits are among the first
            print(f"warning: connection {number}: {str(error) or 'it took too long'}", file=sys.stderr, flush=True)
        finally:
            writer = self._writers.pop(number, None)
            if writer is not None:
                writer.transport.abort()
            del self._tasks[number]
        self._tell(machine.Closed(now(), number))

    async def _converse(self, number: int) -> None:
        await self._output.room()  # who cannot read is not to log in
        await take_turn(self._spec["turn"])
        async with asyncio.timeout(CONNECT_LIMIT):
            reader, writer = await asyncio.open_connection(
                self._spec["host"], self._spec["port"], ssl=self._context, limit=READ_SIZE
            )
        self._writers[number] = writer
        self._tell(machine.Opened(now(), number))
        splitter, overlong = IrcSplitter(), 0
        while data := await reader.read(READ_SIZE):
            self._received.set()
            await self._output.room()
            for raw in splitter.feed(data):
                line = parse(raw.decode(errors="replace"))
                if line is not None:
                    self._came = raw, line.command
                    self._tell(machine.Received(now(), number, line))
            if splitter.overlong > overlong:
                overlong = splitter.overlong
                self._output.event("overlong", count=overlong)


def _chance() -> tuple[int, float]:
    """A number for nicknames, and one that sets many captures apart."""
    return int.from_bytes(os.urandom(2), "big"), os.urandom(1)[0] / 255


async def main() -> None:
    """Capture until TERM comes; then all that was sent to here is on the disk."""
    spec = json.loads(sys.stdin.buffer.read())
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    output = Output(1, spec["status"])
    writing = asyncio.create_task(output.run())
    capture = Capture(spec, output)
    capturing = asyncio.create_task(capture.run())
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((writing, capturing, stopping), return_when=asyncio.FIRST_COMPLETED)
    if not capturing.done():
        await capture.settle()
    capture.close()
    for task in (capturing, stopping):
        task.cancel()
    results = await asyncio.gather(capturing, stopping, return_exceptions=True)
    output.event("ended")
    output.close()
    await writing
    if isinstance(results[0], Exception):
        raise results[0]


if __name__ == "__main__":
    asyncio.run(main())
