# SPDX-License-Identifier: GPL-3.0-or-later
"""One page over HTTP, on a Unix socket or a loopback port, and as a file for the node exporter.

Not prometheus-client's own server: it has a thread for each connection, as many as come, and no Unix sockets.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from streamvaultd.varlink.sockets import listen

CONNECTIONS_MAX: Final = 8
HEAD_MAX: Final = 8 << 10
"""Bytes of a request, all its headers included."""

ANSWER_LIMIT: Final = 10.0
"""A connection that is not done after this (s) is closed."""

SOCKET_MODE: Final = 0o660
TEXTFILE_MODE: Final = 0o644
UNIX: Final = "unix:"

Page = Callable[[], Awaitable[bytes]]


class MetricsServer:
    """Answers GET /metrics; anything else is refused."""

    def __init__(self, page: Page, content_type: str) -> None:
        self._page = page
        self._content_type = content_type
        self._connections = 0
        self.is_listening = asyncio.Event()

    async def serve(self, where: str) -> None:
        """Listen on "unix:PATH" or "ADDRESS:PORT" until cancelled; raises OSError if that cannot be done."""
        if where.startswith(UNIX):
            sock = _listen(Path(where.removeprefix(UNIX)))
            server = await asyncio.start_unix_server(self._answer, sock=sock, limit=HEAD_MAX)
        else:
            host, _, port = where.rpartition(":")
            server = await asyncio.start_server(self._answer, host.strip("[]"), int(port), limit=HEAD_MAX)
        self.is_listening.set()
        try:
            await asyncio.Event().wait()
        finally:
            server.close()  # not waited for: a client that stays connected must not hold up the daemon's end

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        try:
            if self._connections <= CONNECTIONS_MAX:
                with suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                    async with asyncio.timeout(ANSWER_LIMIT):
                        head = await reader.readuntil(b"\r\n\r\n")
                        writer.write(await self._response(head))
                        await writer.drain()
        finally:
            self._connections -= 1
            writer.close()

    async def _response(self, head: bytes) -> bytes:
        words = head.split(b"\r\n", 1)[0].split(b" ")
        if words[0] not in (b"GET", b"HEAD") or len(words) != 3:
            return _http("405 Method Not Allowed", "text/plain", b"only GET\n")
        if words[1].partition(b"?")[0] not in (b"/metrics", b"/"):
            return _http("404 Not Found", "text/plain", b"see /metrics\n")
        page = await self._page()
        return _http("200 OK", self._content_type, page, is_head=words[0] == b"HEAD")


def _http(status: str, content_type: str, body: bytes, *, is_head: bool = False) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
    return head.encode("ascii") + b"\r\n" + (b"" if is_head else body)


def _listen(path: Path) -> socket.socket:
    """A listening socket; one that an earlier daemon left is replaced, anything else that is there is not."""
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise FileExistsError(errno.EEXIST, "there is something else than a socket", str(path))
    return listen(path, SOCKET_MODE)


def write_textfile(path: Path, text: bytes) -> None:
    """Put it there, all or nothing, readable for everybody. Blocks; raises OSError. Not synced: it is soon old."""
    draft = path.with_name(f".{path.name}.new")
    try:
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, TEXTFILE_MODE)
        with open(fd, "wb") as file:  # noqa: PTH123 - of a descriptor
            os.fchmod(fd, TEXTFILE_MODE)  # whatever the umask says
            file.write(text)
        draft.rename(path)
    except OSError:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise
