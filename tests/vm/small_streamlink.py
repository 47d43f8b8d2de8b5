#!/usr/bin/python3 -IS
# SPDX-License-Identifier: GPL-3.0-or-later
"""A streamlink for a slow machine: it knows HLS playlists of one server and no more, but starts in half a second.

As streamlink does with our options, it begins at the oldest media segment of the playlist. An option of its own,
"leak", is how many bytes it holds on to, more each second.
"""

import signal
import socket
import sys
import time


def settings() -> dict[str, str]:
    """What the configuration file says that --config names."""
    path = next(word.partition("=")[2] for word in sys.argv if word.startswith("--config="))
    with open(path) as file:  # noqa: PTH123 - pathlib alone would double the time to start
        return dict(line.rstrip("\n").partition("=")[::2] for line in file)


def fetch(host: str, path: str) -> bytes:
    """The body of an answer; raises unless it is 200."""
    name, _, port = host.partition(":")
    with socket.create_connection((name, int(port)), timeout=20) as connection:
        connection.sendall(f"GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        with connection.makefile("rb") as answer:
            status = answer.readline().split()[1]
            while answer.readline().strip():
                pass
            body = answer.read()
    if status != b"200":
        raise OSError(f"{path}: {status.decode()}")
    return body


def main() -> int:
    """Write what the playlist offers, until it ends."""
    if "--version" in sys.argv:
        print("streamlink 7.3.0")
        return 0
    given = settings()
    host, _, path = given["url"].partition("://")[2].partition("/")
    leak, leaked = int(given.get("leak", "0")), []
    folder = path.rpartition("/")[0]
    sys.stderr.write("info cli: Opening stream: live (hls)\n")
    newest = ""
    while True:
        lines = fetch(host, path).decode().splitlines()
        for name in (line for line in lines if line.endswith(".ts") and line > newest):
            sys.stdout.buffer.write(fetch(host, f"{folder}/{name}"))
            sys.stdout.buffer.flush()
            newest = name
        if "#EXT-X-ENDLIST" in lines:
            sys.stderr.write("info cli: Stream ended\n")
            return 0
        leaked.append(b"\1" * leak)
        time.sleep(1)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
    sys.exit(main())
