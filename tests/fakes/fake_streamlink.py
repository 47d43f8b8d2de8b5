#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""A streamlink that misbehaves on request: the URL in its configuration says how. Made of the standard library alone.

fake://media         writes media and logs as streamlink does, until TERM or INT
fake://stall         writes media once, then nothing
fake://deaf          as media, but the first TERM only makes it wait for a download that never ends
fake://hang          writes nothing, logs nothing, minds no signal
fake://slow          as media, after three seconds of advertisements
fake://exit/N        logs an error and exits with N
fake://signal/N      writes media once and dies of the signal N
fake://garbage       a megabyte of something without line ends on stderr, then exits with 1
fake://orphan        exits with 0 and leaves a process in a session of its own that keeps stderr open
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

BLOCK = 8192


def main() -> int:
    if "--version" in sys.argv:
        print("streamlink 8.6.3")
        return 0
    url = urlsplit(setting("url"))
    behave = BEHAVIOURS.get(url.netloc)
    if behave is None:
        log(f"error: No plugin can handle URL: {url.geturl()}")
        return 1
    try:
        return behave(url.path.lstrip("/"))
    except KeyboardInterrupt:
        log("Interrupted! Exiting...")
        return 130


def setting(name: str) -> str:
    """A setting of the configuration file that --config names."""
    path = next(word.partition("=")[2] for word in sys.argv if word.startswith("--config="))
    settings = dict(line.partition("=")[::2] for line in Path(path).read_text().splitlines())
    return settings[name]


def log(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def opening() -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    log(f"info cli: Opening stream: {setting('default-stream')} (hls)")


def write_block() -> None:
    sys.stdout.buffer.write(b"\x47" + os.urandom(BLOCK - 1))
    sys.stdout.buffer.flush()


def media(_: str) -> int:
    opening()
    while True:
        write_block()
        time.sleep(0.05)


def stall(_: str) -> int:
    opening()
    write_block()
    while True:
        signal.pause()


def deaf(_: str) -> int:
    try:
        return stall("")
    except KeyboardInterrupt:
        while True:
            signal.pause()


def hang(_: str) -> int:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while True:
        signal.pause()


def slow(_: str) -> int:
    opening()
    log("info stream.hls: Filtering out segments and pausing stream output")
    time.sleep(3)
    log("info stream.hls: Resuming stream output")
    return media("")


def leave(status: str) -> int:
    log("error: Unable to open URL: fake://exit (503 Server Error: Service Unavailable for url: fake://exit)")
    return int(status)


def die(number: str) -> int:
    write_block()
    os.kill(os.getpid(), int(number))
    return 0


def garbage(_: str) -> int:
    for _block in range(256):
        os.write(2, os.urandom(4096).replace(b"\n", b"\0"))
    return 1


def orphan(_: str) -> int:
    pid = os.fork()
    if pid == 0:
        os.setsid()
        while True:
            signal.pause()
    log(f"info cli: orphan {pid}")
    return 0


BEHAVIOURS = {
    "media": media,
    "stall": stall,
    "deaf": deaf,
    "hang": hang,
    "slow": slow,
    "exit": leave,
    "signal": die,
    "garbage": garbage,
    "orphan": orphan,
}

if __name__ == "__main__":
    sys.exit(main())
