# SPDX-License-Identifier: GPL-3.0-or-later
"""What the service tells systemd and gets from it: states, the watchdog, and file descriptors that outlive it.

sd_notify(3), sd_watchdog_enabled(3), sd_listen_fds(3), sd_pid_notify_with_fds(3). Without systemd (no NOTIFY_SOCKET in
the environment) all of it does nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from typing import Final

from sdnotify import SystemdNotifier

from systemd import daemon

STATUS_MAX: Final = 1024


class Notifier:
    """Talks to the service manager. Messages are datagrams: each call tells one thing at once."""

    def __init__(self) -> None:
        # sdnotify leaks its socket if there is nothing to connect to.
        self._manager = SystemdNotifier() if "NOTIFY_SOCKET" in os.environ else None
        self._stored: set[str] = set()

    @property
    def stored(self) -> frozenset[str]:
        """The names of what is kept in systemd."""
        return frozenset(self._stored)

    def inherit(self, names: Iterable[str]) -> None:
        """What an earlier service stored, and got back from systemd."""
        self._stored.update(names)

    def ready(self, status: str) -> None:
        """Started up, or done with a reload."""
        self._send(f"READY=1\n{_status(status)}")

    def status(self, text: str) -> None:
        """The line that systemctl status shows."""
        self._send(_status(text))

    def reloading(self) -> None:
        """A reload begins; ready() ends it."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, status: str) -> None:
        """The end begins."""
        self._send(f"STOPPING=1\n{_status(status)}")

    def feed_watchdog(self) -> None:
        """The service makes progress."""
        self._send("WATCHDOG=1")

    def store_fd(self, name: str, fd: int) -> None:
        """Keep a copy of a descriptor in systemd until remove_fd(), over restarts and crashes of the service.

        FDPOLL=0: an exit record must stay readable after its writer is gone. OSError: systemd cannot be reached.
        """
        daemon.notify(f"FDSTORE=1\nFDNAME={name}\nFDPOLL=0", fds=[fd])
        self._stored.add(name)

    def remove_fd(self, name: str) -> None:
        """Drop every descriptor of this name from systemd. OSError: systemd cannot be reached."""
        daemon.notify(f"FDSTOREREMOVE=1\nFDNAME={name}")
        self._stored.discard(name)

    def close(self) -> None:
        """Say nothing more."""
        if self._manager is not None:
            self._manager.socket.close()
            self._manager = None

    def _send(self, message: str) -> None:
        if self._manager is not None:
            # sdnotify encodes as Latin-1, systemd expects UTF-8: so each character stands for one byte of that.
            self._manager.notify(message.encode(errors="replace").decode("latin-1"))


def stored_fds() -> dict[str, list[int]]:
    """The descriptors that systemd passed to us, by name: listening sockets and what was stored.

    Ours from now on; none of them is inherited by children. To be called once: the environment forgets them.
    """
    found: dict[str, list[int]] = {}
    for fd, name in daemon.listen_fds_with_names().items():
        found.setdefault(name, []).append(fd)
    return found


def watchdog_interval() -> float | None:
    """How often (s) to call feed_watchdog(): twice per WatchdogSec=; None if nobody waits for it."""
    usec = os.environ.get("WATCHDOG_USEC", "")
    if not usec.isdecimal() or os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(usec) / 2e6


def _status(text: str) -> str:
    return "STATUS=" + " ".join(text.split())[:STATUS_MAX]
