# SPDX-License-Identifier: GPL-3.0-or-later
"""The real streamlink behind the shim, recording a live source over loopback."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from streamvaultd.base.growth import MediaWatch
from streamvaultd.core.recording.loglines import Line, classify, resolved_quality
from streamvaultd.recording.streamlink.command import Installation
from streamvaultd.recording.streamlink.installation import discover
from tests.component.captures import SHORT_MEDIA, Run, World, real_streamlink, world
from tests.fakes.livesource import LiveSource


class Studio:
    """A source, a streamlink, and files that it records into."""

    def __init__(self, source: LiveSource, at: World, installation: Installation) -> None:
        self.source = source
        self.at = at
        self.installation = installation
        self.output = at.folder / "segment_001.ts"
        self.media: MediaWatch[str] = MediaWatch(asyncio.get_running_loop())

    def record(self, url: str, limit: float | None = None) -> Run:
        return self.at.record(url, self.output, self.installation, limit=limit)

    async def recording(self, channel: str) -> Run:
        """A run that has written media."""
        run = self.record(self.source.url(channel))
        arrived = asyncio.Event()
        self.media.watch(channel, self.output, lambda _: arrived.set())
        async with asyncio.timeout(60):
            await arrived.wait()
        return run

    def offered(self, channel: str) -> bytes:
        """Everything that the source has offered since it began."""
        it = self.source.channels[channel]
        return b"".join(it.media.segment(index).read_bytes() for index in range(it.last() + 1))


@pytest.fixture(name="studio")
async def _studio(tmp_path: Path) -> AsyncIterator[Studio]:
    installation = await discover((real_streamlink(),), (), ())
    with LiveSource(SHORT_MEDIA, window=10) as source, world() as at:
        found = Studio(source, at, installation)
        yield found
        found.media.close()


def kinds(record: dict[str, Any]) -> set[Line]:
    return {kind for line in record["log"] if (kind := classify(line)) is not None}


async def test_the_file_holds_the_window_and_all_that_came_after_it_byte_by_byte(studio: Studio) -> None:
    studio.source.channel("a", {"elapsed": 8.0})
    run = await studio.recording("a")
    studio.source.control("a", end=True)
    record = await asyncio.to_thread(run.ended)
    assert record["status"] == 0
    assert studio.output.read_bytes() == studio.offered("a")
    assert [resolved_quality(line) for line in record["log"] if resolved_quality(line)] == ["live"]
    assert kinds(record) - {Line.OPENING} == {Line.PACE}


async def test_a_run_with_a_limit_counts_the_window_from_its_oldest_media_on(studio: Studio) -> None:
    studio.source.channel("f", {"elapsed": 30.0})
    first = studio.source.channels["f"].last() - 9
    record = await asyncio.to_thread(studio.record(studio.source.url("f"), limit=3.0).ended)
    assert record["status"] == 0
    assert Line.ENOUGH in kinds(record)
    media = studio.source.channels["f"].media
    starts = [b"".join(media.segment(at + n).read_bytes() for n in range(3)) for at in range(first, first + 10)]
    assert studio.output.read_bytes() in starts


async def test_a_stop_leaves_what_was_received(studio: Studio) -> None:
    studio.source.channel("b", {"elapsed": 8.0})
    run = await studio.recording("b")
    run.stop()
    record = await asyncio.to_thread(run.ended)
    assert record["status"] == 130
    assert Line.INTERRUPTED in kinds(record)
    assert studio.offered("b").startswith(studio.output.read_bytes())


async def test_a_kill_leaves_what_was_received(studio: Studio) -> None:
    studio.source.channel("c", {"elapsed": 8.0})
    run = await studio.recording("c")
    os.kill(run.child(), signal.SIGKILL)
    record = await asyncio.to_thread(run.ended)
    assert record["status"] == -signal.SIGKILL
    assert studio.offered("c").startswith(studio.output.read_bytes())


async def test_a_source_that_is_not_there(studio: Studio) -> None:
    studio.source.channel("d")
    studio.source.control("d", gone=True)
    record = await asyncio.to_thread(studio.record(studio.source.url("d")).ended)
    assert record["status"] == 1
    assert Line.NOT_FOUND in kinds(record)
    assert studio.output.stat().st_size == 0


async def test_an_url_without_a_plugin(studio: Studio) -> None:
    record = await asyncio.to_thread(studio.record(f"{studio.source.address}/page").ended)
    assert record["status"] == 1
    assert Line.NO_PLUGIN in kinds(record)


async def test_neither_url_nor_streamer_is_in_any_argv(studio: Studio) -> None:
    studio.source.channel("e", {"elapsed": 8.0})
    run = await studio.recording("e")
    words = command_line(run.spawned.pid) + command_line(run.child())
    assert b"127.0.0.1" not in words
    assert b"demo" not in words
    run.stop()
    await asyncio.to_thread(run.ended)


def command_line(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()
