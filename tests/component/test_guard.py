# SPDX-License-Identifier: GPL-3.0-or-later
"""What a source may name: http and https; whatever version of streamlink it is that would fetch it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamvaultd.recording.streamlink.command import GUARD
from streamvaultd.scopes.ports import Access
from streamvaultd.watching.probe.probe import new_session
from tests.component.captures import World, real_streamlink, world
from tests.component.test_confine import installed
from tests.fakes.hostile import KINDS, Hostile, hostile
from tests.fakes.livesource import LiveSource

PLANTED = "planted-" * 400


@pytest.fixture
def at() -> Iterator[World]:
    with world() as found:
        yield found


@pytest.fixture(scope="module")
def media() -> Iterator[bytes]:
    with LiveSource() as source:
        source.channel("a", {"elapsed": 10.0})
        yield source.channels["a"].media.segment(0).read_bytes()


@pytest.fixture
def source(media: bytes) -> Iterator[Hostile]:
    with hostile(media) as found:
        yield found


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_but_http_is_fetched(at: World, source: Hostile, kind: str) -> None:
    """By the newest streamlink; Debian's is asked in a box."""
    secret = at.scratch.parent / "readable"
    secret.write_text(PLANTED)
    rules = Access(network=True, read=(str(secret),))  # so that nothing but streamlink and the guard refuses it
    named = source.naming(kind, f"file://{secret}")
    soon = (("stream-timeout", "10"),)  # DASH waits so long for what it could not fetch
    at.record(named, at.folder / "out", installed(), rules=rules, options=soon).ended()
    assert b"planted-" not in (at.folder / "out").read_bytes()
    told = " ".join(entry["MESSAGE"] for entry in at.journal.entries())
    assert "planted-planted-planted-" not in told
    assert "Found matching plugin" in told


ASK = """
import json, sys
sys.path.insert(0, sys.argv[1])
import requests
try:
    import streamvault_guard
except ModuleNotFoundError:
    pass
session = requests.Session()
session.mount("file:", requests.adapters.HTTPAdapter())
found = {}
for url in sys.argv[2:]:
    try:
        session.get_adapter(url)
        found[url] = "taken"
    except requests.exceptions.RequestException as error:
        found[url] = type(error).__name__
print(json.dumps(found))
"""


def ask(guard: Path, *urls: str) -> dict[str, str]:
    python = Path(real_streamlink()).with_name("python")
    done = subprocess.run([python, "-I", "-c", ASK, str(guard), *urls], capture_output=True, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found


def test_whatever_adapters_there_are() -> None:
    ours, others = ("http://127.0.0.1/", "HTTPS://example.org/"), ("file:///etc/passwd", "FILE:/etc/passwd", "file:x")
    assert set(ask(Path("/nowhere"), *ours, *others).values()) == {"taken"}
    found = ask(GUARD, *ours, *others, "ftp://127.0.0.1/x", "data:,x", "/etc/passwd", "")
    assert {url for url, result in found.items() if result == "taken"} == set(ours)


def test_the_probe_takes_http_alone() -> None:
    session, _ = new_session([])
    assert sorted(session.http.adapters) == ["http://", "https://"]
