# SPDX-License-Identifier: GPL-3.0-or-later
"""Unix stream sockets under asyncio, with file descriptors (unix(7), SCM_RIGHTS) and notice of a hang-up."""

from __future__ import annotations

import array
import asyncio
import os
import select
import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamvaultd.varlink.framing import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path
    from types import TracebackType

READ_BYTES = 1 << 16
LISTEN_BACKLOG = 128
SO_PEERGROUPS = 59  # asm-generic/socket.h, not in Python's socket module
GROUPS_BYTES_MAX = 1024  # getsockopt() takes no larger buffer; 256 groups


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end, as the kernel saw it connect; `groups` are its supplementary ones."""

    pid: int
    uid: int
    gid: int
    groups: frozenset[int] = frozenset()


def peer_of(sock: socket.socket) -> Peer:
    """Return the credentials the peer had when it connected (SO_PEERCRED, SO_PEERGROUPS)."""
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    try:
        groups = array.array("i", sock.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, GROUPS_BYTES_MAX))
    except OSError:  # ERANGE: it has more of them than anybody needs
        groups = array.array("i")
    pid, uid, gid = struct.unpack("3i", credentials)
    return Peer(pid, uid, gid, frozenset(groups))


@dataclass(frozen=True, slots=True)
class Members:
    """Who may use a listening socket: root, ourselves, and the owner and the group of the socket's file.

    The mode of the file says the same, so this refuses nobody; unless somebody has widened the mode.
    """

    uids: frozenset[int]
    gid: int | None

    @classmethod
    def of_socket(cls, listener: socket.socket) -> Members:
        """Those of a listening socket; without a file, root and ourselves."""
        ours = frozenset({0, os.geteuid()})
        try:
            found = os.stat(listener.getsockname())  # noqa: PTH116 - the name may be bytes
        except (OSError, ValueError, TypeError):
            return cls(ours, None)
        return cls(ours | {found.st_uid}, found.st_gid)

    def admit(self, peer: Peer) -> bool:
        """Whether this peer is one of them."""
        return peer.uid in self.uids or (self.gid is not None and self.gid in peer.groups | {peer.gid})


def listen(path: Path, mode: int) -> socket.socket:
    """Return a listening socket at `path`; what an earlier one left there is replaced."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.unlink(missing_ok=True)
        # The mode is right from the first moment: bind() creates the socket with 0777 & ~umask
        umask = os.umask(0o777 & ~mode)
        try:
            sock.bind(str(path))
        finally:
            os.umask(umask)
        sock.listen(LISTEN_BACKLOG)
    except OSError:
        sock.close()
        raise
    sock.settimeout(0)
    return sock


def close_all(fds: Iterable[int]) -> None:
    for fd in fds:
        os.close(fd)


async def receive(sock: socket.socket, fds_max: int) -> tuple[bytes, list[int]]:
    """Wait for bytes and the descriptors that came with them; no bytes means that the peer has finished.

    More than `fds_max` descriptors are closed and raise ProtocolError. The caller owns what is returned.
    """
    while True:
        try:
            return _receive_now(sock, fds_max)
        except BlockingIOError:
            await readable(sock)


def _receive_now(sock: socket.socket, fds_max: int) -> tuple[bytes, list[int]]:
    space = socket.CMSG_SPACE(fds_max * array.array("i").itemsize) if fds_max else 0
    data, messages, flags, _ = sock.recvmsg(READ_BYTES, space, socket.MSG_CMSG_CLOEXEC | socket.MSG_DONTWAIT)
    fds = array.array("i")
    for level, kind, payload in messages:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
    # Where the space was too small the kernel has closed the rest; its alignment may let one more through
    if flags & socket.MSG_CTRUNC or len(fds) > fds_max:
        close_all(fds)
        raise ProtocolError(f"more than {fds_max} file descriptors in a message")
    return data, fds.tolist()


async def readable(sock: socket.socket) -> None:
    """Wait until there is something to read, or to accept."""
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_reader(sock.fileno(), _resolve, ready)
    try:
        await ready
    finally:
        loop.remove_reader(sock.fileno())


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def send_now(sock: socket.socket, data: bytes) -> bytes:
    """Write what the peer takes at once; returns the rest."""
    try:
        sent = sock.send(data, socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return data
    return data[sent:]


async def send(sock: socket.socket, data: bytes, fds: Sequence[int] = ()) -> None:
    """Send all of `data`, waiting for the peer to read; `fds` go with its first byte and stay open here."""
    sent = 0
    if fds:
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]
        # Only ever the first message of a fresh or idle socket: its buffer is empty, this does not block
        sent = sock.sendmsg([data], ancillary, socket.MSG_NOSIGNAL)
    if sent < len(data):
        await asyncio.get_running_loop().sock_sendall(sock, memoryview(data)[sent:])


class HangUps:
    """Tells when a peer has closed both directions, without reading what it sent before.

    EOF alone does not say so: a client may shut down its sending half and still wait for answers.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._waiting: dict[int, asyncio.Future[None]] = {}

    def __enter__(self) -> HangUps:
        asyncio.get_running_loop().add_reader(self._epoll.fileno(), self._on_events)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.get_running_loop().remove_reader(self._epoll.fileno())
        self._epoll.close()

    async def wait(self, sock: socket.socket) -> None:
        """Return when the peer of `sock` has hung up. One waiter per socket at a time."""
        fd = sock.fileno()
        self._waiting[fd] = asyncio.get_running_loop().create_future()
        # epoll(7) reports EPOLLHUP and EPOLLERR unasked; edge-triggered, so that it does so once
        self._epoll.register(fd, select.EPOLLET)
        try:
            await self._waiting[fd]
        finally:
            self._epoll.unregister(fd)
            del self._waiting[fd]

    def _on_events(self) -> None:
        for fd, _ in self._epoll.poll(0):
            _resolve(self._waiting[fd])
