# SPDX-License-Identifier: GPL-3.0-or-later
"""What a process of a service that was taken over would reach of the machine. Standard library only.

It runs in place of the service's program, in its unit, and prints one JSON object on its standard output: for each
attempt "reached", or the error that stopped it.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path

PLANTED = "of-the-machine"
"""A file that the test puts into folders which others use, too."""

SHARED = ("/tmp", "/var/tmp", "/dev/shm", "/run/lock")
WRITTEN = ("/run", "/run/lock", "/run/streamvaultd", "/var/lib/streamvaultd")
FILES = (
    "/var/lib/streamvaultd/streamvaultd.sqlite",
    "/etc/streamvaultd/conf.d/test.toml",
    "/proc/1/comm",
    "/proc/meminfo",
)
FOLDERS = ("/var/log/journal", "/run/log/journal")
SOCKETS = {
    "the system bus": "/run/dbus/system_bus_socket",
    "the recorder": "/run/streamvaultd/io.streamvault.Recorder",
    "the broker": "/run/streamvault-brokerd/io.streamvault.Broker",
    "the journal": "/run/systemd/journal/stdout",
}
ADDRESSES = {"metadata of a cloud": "169.254.169.254", "a multicast group": "224.0.0.251", "loopback": "127.0.0.1"}


def connect(path: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.connect(path)


def send(address: str) -> None:
    """A datagram is refused at once where a connection takes minutes; it goes no further than here."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 1)
        out.sendto(b"?", (address, 9))


def attempts() -> dict[str, Callable[[], object]]:
    """Everything that is tried, by name."""
    paths = {f"see {folder}": partial(Path(folder, PLANTED).stat) for folder in SHARED}
    made = {f"write to {folder}": partial(Path(folder, "lodger").write_bytes, b"x") for folder in WRITTEN}
    read = {f"read {path}": partial(Path(path).read_bytes) for path in FILES}
    listed = {f"list {folder}": partial(os.listdir, folder) for folder in FOLDERS}
    sockets = {f"connect to {name}": partial(connect, path) for name, path in SOCKETS.items()}
    sent = {f"send to {name}": partial(send, address) for name, address in ADDRESSES.items()}
    return {**paths, **made, **read, **listed, **sockets, **sent}


def main() -> None:
    """Try everything, and say what was reached."""
    results = {}
    for name, attempt in attempts().items():
        try:
            attempt()
        except OSError as error:
            results[name] = str(error)
        else:
            results[name] = "reached"
    os.write(1, json.dumps({"groups": os.getgroups(), "tried": results}).encode())


if __name__ == "__main__":
    main()
