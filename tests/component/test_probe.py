# SPDX-License-Identifier: GPL-3.0-or-later
"""What sources answer to the real streamlink's API."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from streamlink.stream.hls.m3u8 import parse_m3u8

from streamvaultd.core.recording.events import Outcome
from streamvaultd.recording.streamlink.installation import python_of
from streamvaultd.scopes.launcher import clean_environment
from streamvaultd.watching.one_shot import Prober
from streamvaultd.watching.probe.probe import mark_of
from tests.component.captures import SHORT_MEDIA, real_streamlink
from tests.fakes.livesource import LiveSource

NOWHERE = "http://127.0.0.1:9"  # discard: nobody listens


@pytest.fixture(name="source", scope="module")
def _source() -> Iterator[LiveSource]:
    with LiveSource(SHORT_MEDIA, window=5) as found:
        yield found


def prober(tmp_path: Path, python: str | None = None, **more: Any) -> Prober:
    return Prober(
        python=python or python_of(real_streamlink()), environment=clean_environment(tmp_path / "home"), **more
    )


async def test_a_live_playlist(source: LiveSource, tmp_path: Path) -> None:
    source.channel("live")
    result = await prober(tmp_path).probe(source.url("live"), "best")
    assert (result.outcome, result.detail, result.plugin) == (Outcome.LIVE, "", "hls")
    assert {"live", "best"} <= set(result.streams)


async def test_a_live_multivariant_playlist(source: LiveSource, tmp_path: Path) -> None:
    source.channel("master")
    url = source.url("master").replace("live.m3u8", "master.m3u8")
    assert (await prober(tmp_path).probe(url, "1080p,180p")).outcome is Outcome.LIVE


async def test_a_quality_that_is_not_offered_is_told(source: LiveSource, tmp_path: Path) -> None:
    source.channel("other")
    result = await prober(tmp_path).probe(source.url("other"), "1080p")
    assert (result.outcome, result.detail) == (Outcome.LIVE, "none of the qualities 1080p is offered")


@pytest.mark.parametrize(
    ("order", "outcome"),
    [
        ({"end": True}, Outcome.ENDED),
        ({"gone": True}, Outcome.OFFLINE),
        ({"fault": "403"}, Outcome.TROUBLE),
        ({"fault": "500"}, Outcome.TROUBLE),
        ({"fault": "drop"}, Outcome.TROUBLE),
    ],
)
async def test_sources_that_are_not_live(
    source: LiveSource, tmp_path: Path, order: dict[str, Any], outcome: Outcome
) -> None:
    name = "-".join(map(str, order.values()))
    source.channel(name)
    source.control(name, **order)
    assert (await prober(tmp_path).probe(source.url(name), "best")).outcome is outcome


async def test_a_source_that_does_not_answer_is_given_up(source: LiveSource, tmp_path: Path) -> None:
    source.channel("stalled")
    source.control("stalled", fault="stall")
    result = await prober(tmp_path, time_limit=1.5).probe(source.url("stalled"), "best")
    source.control("stalled", fault=None)
    assert (result.outcome, result.detail) == (Outcome.TROUBLE, "no answer within 1.5 s")


async def test_nobody_there_is_trouble_and_its_query_stays_unsaid(tmp_path: Path) -> None:
    result = await prober(tmp_path).probe(f"{NOWHERE}/live.m3u8?token=secret", "best")
    assert result.outcome is Outcome.TROUBLE
    assert "Connection refused" in result.detail
    assert "secret" not in result.detail


async def test_an_url_without_a_plugin(source: LiveSource, tmp_path: Path) -> None:
    probing = prober(tmp_path)
    assert (await probing.probe(f"{source.address}/page", "best")).outcome is Outcome.UNSUPPORTED
    assert not await probing.can_handle(f"{source.address}/page")
    assert await probing.can_handle("https://www.twitch.tv/demo")
    assert await probing.can_handle("hls://http://host/live")


async def test_the_administrators_options_hold_for_the_probe_too(source: LiveSource, tmp_path: Path) -> None:
    source.channel("proxied")
    probing = prober(tmp_path, options=[("http-proxy", NOWHERE)])
    result = await probing.probe(source.url("proxied"), "best")
    assert result.outcome is Outcome.TROUBLE
    assert "proxy" in result.detail


@pytest.mark.parametrize(
    "script",
    [
        "echo nonsense",
        "exit 1",
        "head -c 1000000 /dev/zero",
        'echo \'{"outcome": "sleepy"}\'',
        """printf '{"outcome": "live", "detail": "\\377"}'""",
    ],
)
async def test_a_probe_that_answers_nonsense_is_trouble(tmp_path: Path, script: str) -> None:
    result = await prober(tmp_path, python=program(tmp_path, script)).probe("http://host/x", "best")
    assert (result.outcome, result.detail) == (Outcome.TROUBLE, "the probe of streamlink gave no answer")


async def test_an_interpreter_without_streamlink_is_trouble(tmp_path: Path) -> None:
    # A stand-in for the interpreter: -S leaves its packages out.
    bare = program(tmp_path, f'exec {sys.executable} -S "$@"')
    result = await prober(tmp_path, python=bare).probe("http://host/live.m3u8", "best")
    assert (result.outcome, result.detail[:19]) == (Outcome.TROUBLE, "ModuleNotFoundError")
    result = await prober(tmp_path, python="/nonexistent/python").probe("http://host/live.m3u8", "best")
    assert result.detail == "cannot run /nonexistent/python: No such file or directory"


def program(folder: Path, script: str) -> str:
    path = folder / "program"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    assert shutil.which(str(path))
    return str(path)


PLAYLIST = """#EXTM3U
#EXT-X-TARGETDURATION:2
#EXT-X-MEDIA-SEQUENCE:0
#EXTINF:2.0,
first.ts?token=1
#EXTINF:2.0,
second.ts?token=1
"""


@pytest.mark.parametrize(
    ("changed", "is_another"),
    [
        (PLAYLIST, False),
        (PLAYLIST.replace("token=1", "token=2"), False),
        (PLAYLIST.replace("SEQUENCE:0", "SEQUENCE:1"), True),
        (PLAYLIST.replace("first", "second", 1).replace("second.ts?token=1\n", "third.ts\n", 1), True),
        (PLAYLIST.replace("#EXTINF", "#EXT-X-PROGRAM-DATE-TIME:2026-01-01T00:00:02Z\n#EXTINF", 1), True),
        (PLAYLIST + "#EXTINF:2.0,\nthird.ts\n", True),
    ],
    ids=["same", "token", "sequence", "files", "dates", "longer"],
)
def test_a_playlist_advances_though_its_number_stays(changed: str, is_another: bool) -> None:
    """Packagers that always say MEDIA-SEQUENCE:0, or name files in a ring, are live; a new token is no advance."""
    marks = [mark_of(parse_m3u8(text)) for text in (PLAYLIST, changed)]
    assert (marks[0] != marks[1]) is is_another
