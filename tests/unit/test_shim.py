# SPDX-License-Identifier: GPL-3.0-or-later
"""The shim's pure parts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from streamvaultd.scopes import shim
from streamvaultd.scopes.shim import (
    LINES_KEPT,
    LOG_MAX,
    Journal,
    Log,
    encode,
    memory_of,
    own_cgroup,
    priority_of,
    redact,
)


@pytest.mark.parametrize(
    ("word", "redacted"),
    [
        ("http://host/live.m3u8", "http://host/live.m3u8"),
        ("http://host/live.m3u8?token=abc&sig=d", "http://host/live.m3u8?***"),
        ("/path?token=abc", "/path?***"),
        ("hls://http://me:pw@host/x?a=b", "hls://http://***@host/x?***"),
        ("'http://me:pw@host:8080/x',", "'http://***@host:8080/x',"),
        ("https://www.youtube.com/@name/live", "https://www.youtube.com/@name/live"),
        ("http://a:b@one,http://c:d@two", "http://***@one,http://***@two"),
        ("really?", "really?"),
        ("what?!", "what?!"),
    ],
)
def test_urls_lose_credentials_and_query(word: str, redacted: str) -> None:
    assert redact(word) == redacted


@pytest.mark.parametrize(
    ("text", "previous", "priority"),
    [
        ("info cli: Opening stream", 3, 6),
        ("warning stream.hls: Sequence gap", 6, 4),
        ("error: Unable to open URL", 6, 3),
        ("error stream.hls: Failed", 6, 3),
        ("Traceback (most recent call last):", 6, 3),
        ('  File "x.py", line 1', 3, 3),
        ("Interrupted! Exiting...", 6, 6),
    ],
)
def test_the_level_word_gives_the_priority(text: str, previous: int, priority: int) -> None:
    assert priority_of(text, previous) == priority


def test_the_own_cgroup_is_the_unified_one() -> None:
    assert own_cgroup("4:memory:/x\n0::/a.slice/b.scope\n") == "/sys/fs/cgroup/a.slice/b.scope"
    assert own_cgroup("") == "/sys/fs/cgroup/"


def test_memory_comes_from_the_cgroup(tmp_path: Path) -> None:
    assert memory_of(str(tmp_path)) == (None, None, None)
    (tmp_path / "memory.events").write_text("low 0\nhigh 0\nmax 12\noom 1\noom_kill 2\noom_group_kill 0\n")
    (tmp_path / "memory.peak").write_text("31457280\n")
    (tmp_path / "memory.max").write_text("268435456\n")
    assert memory_of(str(tmp_path)) == (2, 31457280, 268435456)
    (tmp_path / "memory.max").write_text("max\n")
    assert memory_of(str(tmp_path)) == (2, 31457280, None)


@pytest.mark.parametrize("text", ["x" * 5000, "\x01" * 5000, "é" * 5000, "🙂" * 5000, "short"])
def test_the_last_lines_fit_the_record(text: str) -> None:
    reader, writer = os.pipe()
    journal = Journal("/nonexistent/socket", b"")
    log = Log(reader, journal, [])
    for number in range(30):
        os.write(writer, f"{number} {text}\n".encode())
        while log.read():
            pass
    os.close(writer)
    log.close()
    journal.close()
    last = log.last()
    assert len(last) <= LINES_KEPT
    assert len(encode(last)) <= LOG_MAX + 2
    if text == "short":
        assert last == [f"{number} short" for number in range(10, 30)]


def test_the_longest_record_fits_into_one_write() -> None:
    others = 400  # names, numbers and an error of 200 characters
    assert shim.LOG_MAX + shim.ERROR_MAX * 4 + others <= 4096
