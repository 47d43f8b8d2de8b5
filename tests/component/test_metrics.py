# SPDX-License-Identifier: GPL-3.0-or-later
"""Metrics: what they say, over sockets and in a file, and that nobody who asks can be a burden."""

from __future__ import annotations

import asyncio
import json
import math
import re
import stat
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client.parser import text_string_to_metric_families

from streamvaultd.base.clock import SystemClock
from streamvaultd.base.lanes import Lanes
from streamvaultd.config.live_settings import LiveSettings
from streamvaultd.config.settings import Settings
from streamvaultd.core.model import Moment, Phase, Policy, Recorder, Recording, SeamRecord, Segment, State
from streamvaultd.core.watching.model import Mood
from streamvaultd.daemon.reporting import Ledger
from streamvaultd.errors import StoreUnavailable
from streamvaultd.recording.files.output import SegmentFiles
from streamvaultd.reporting.entry import Entry
from streamvaultd.reporting.metrics import meter as meters
from streamvaultd.reporting.metrics import serve
from streamvaultd.reporting.metrics.figures import (
    CAUSES,
    DISKS_MAX,
    DiskFigures,
    Restarts,
    Rising,
    Snapshot,
    deaths_by_kind,
    snapshot,
)
from streamvaultd.reporting.metrics.meter import Meter, provide
from streamvaultd.reporting.metrics.page import CONTENT_TYPE, MetricsPage, families
from streamvaultd.reporting.notices import METRICS_FAILED, Journal
from streamvaultd.store.catalogue import CatalogueState
from streamvaultd.store.figures import Figures
from streamvaultd.store.queries import QueryableStore
from tests.fakes.parts import Begun

ROOT = Path(__file__).resolve().parents[2]
CLOCK = SystemClock()
NONE = Figures(recordings={}, kept=0, causes={}, bytes=0, seams={}, gap_ms=0.0, steps={})
Samples = dict[tuple[str, str], float]


def at(seconds: float) -> Moment:
    return Moment(seconds, round(seconds * 1e6))


def segment(number: int, *, started: float | None, ended: float | None = None, **more: Any) -> Segment:
    phase = Phase.ENDED if ended is not None else Phase.WRITING
    return Segment(
        number=number,
        phase=phase,
        since=at(0),
        started=None if started is None else at(started),
        ended=None if ended is None else at(ended),
        **more,
    )


def recorder(*segments: Segment, state: State = State.RECORDING, number: int = 1) -> Recorder:
    recording = Recording(
        id=number, stream=number, streamer="secret-name", url="https://example.org/?token=hidden", quality="best",
        directory="/r", created=at(0), duration=None, policy=Policy(),
    )  # fmt: skip
    return Recorder(recording=recording, state=state, since=at(0), segments=segments)


def taken(**more: Any) -> Snapshot:
    given: dict[str, Any] = {
        "version": "1", "stored": NONE, "store_up": True, "recorders": (), "disks": (), "catalogue": None,
        "streamlink_trouble": False, "moods": (),
    }  # fmt: skip
    return snapshot(**given | more)


def samples(text: bytes) -> Samples:
    """Every sample of a page, by its name and the values of its labels."""
    return {
        (sample.name, ",".join(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


# --- what they say ---------------------------------------------------------------------------------------------------


def test_a_page_says_what_runs_and_what_was() -> None:
    stored = Figures(
        recordings={"recording": 1, "completed": 3},
        kept=2,
        causes={"oom": 2, "signal:9": 3, "signal:11": 1, "stopped": 5, "rotated": 7, "novel": 1},
        bytes=5000,
        seams={"exact": 4, "gap": 1},
        gap_ms=1500.0,
        steps={"done": 6, "due": 1},
    )
    running = recorder(
        segment(1, started=1, ended=5, cause="oom", memory_peak=90),
        segment(2, started=6, anon=60, memory_max=100),
    )
    disks = [DiskFigures(place="/r", free=1000, left=math.inf)]
    found = samples(
        MetricsPage().text(
            taken(
                stored=stored,
                recorders=[running],
                disks=disks,
                catalogue=CatalogueState(7, "it is away"),
                streamlink_trouble=True,
                moods=[Mood.LIVE, Mood.TROUBLE, Mood.TROUBLE],
            )
        )
    )
    assert found["streamvaultd_recordings", "completed"] == 3
    assert found["streamvaultd_recordings", "failed"] == 0
    assert found["streamvaultd_recordings_active", "recording"] == 1
    assert found["streamvaultd_segments_running", ""] == 1
    assert found["streamvaultd_received_bytes_total", ""] == 5000
    deaths = {cause: value for (name, cause), value in found.items() if name == "streamvaultd_deaths_total"}
    assert {cause: value for cause, value in deaths.items() if value} == {"oom": 2, "signal": 4, "other": 1}
    assert found["streamvaultd_seams_total", "exact"] == 4
    assert found["streamvaultd_steps", "done"] == 6
    assert found["streamvaultd_steps", "failed"] == 0
    assert found["streamvaultd_seam_gap_seconds_total", ""] == 1.5
    memory = [found[f"streamvaultd_segment_memory_{what}bytes", ""] for what in ("", "limit_", "peak_")]
    assert memory == [60, 100, 90]
    assert found["streamvaultd_disk_left_seconds", "/r"] == math.inf
    assert (found["streamvaultd_catalogue_backlog", ""], found["streamvaultd_catalogue_up", ""]) == (7, 0)
    assert found["streamvaultd_streamlink_trouble", ""] == 1
    streamers = {mood: value for (name, mood), value in found.items() if name == "streamvaultd_streamers"}
    assert {mood: value for mood, value in streamers.items() if value} == {"live": 1, "trouble": 2}
    assert set(streamers) == {mood.value for mood in Mood}


def test_counters_do_not_fall_when_something_is_corrected() -> None:
    page = MetricsPage()
    first = replace(NONE, causes={"signal:9": 5}, bytes=5000, seams={"gap": 2}, gap_ms=2000.0)
    corrected = replace(NONE, causes={"signal:9": 4, "oom": 1}, bytes=3000, seams={"gap": 1, "union": 1}, gap_ms=500.0)
    page.text(taken(stored=first))
    found = samples(page.text(taken(stored=corrected)))
    assert found["streamvaultd_deaths_total", "signal"] == 5
    assert found["streamvaultd_deaths_total", "oom"] == 1
    assert found["streamvaultd_received_bytes_total", ""] == 5000
    assert found["streamvaultd_seams_total", "gap"] == 2
    assert found["streamvaultd_seam_gap_seconds_total", ""] == 2
    later = samples(page.text(taken(stored=replace(corrected, causes={"signal:9": 5, "oom": 1}, bytes=3100))))
    assert later["streamvaultd_deaths_total", "signal"] == 6
    assert later["streamvaultd_received_bytes_total", ""] == 5100


def test_sums_that_are_not_known_yet_are_not_told() -> None:
    found = samples(MetricsPage().text(taken(stored=None, store_up=False)))
    assert found["streamvaultd_store_up", ""] == 0
    assert found["streamvaultd_segments_running", ""] == 0
    assert not {name for name, _ in found} & {"streamvaultd_received_bytes_total", "streamvaultd_recordings"}


def test_only_counters_are_asked_for_their_increase() -> None:
    alerts = (ROOT / "docs" / "prometheus" / "alerts.yml").read_text()
    dashboard = (ROOT / "docs" / "grafana" / "streamvaultd.json").read_text()
    asked = re.findall(r"(?:rate|increase)\((\w+)", alerts + dashboard)
    assert len(asked) > 5
    assert {name.rpartition("_")[2] for name in asked} == {"total", "bucket"}


def test_labels_are_of_fixed_lists_and_nobody_is_named() -> None:
    disks = [DiskFigures(place=f"/{number}", free=1, left=1) for number in range(10 * DISKS_MAX)]
    many = {f"exit:{number}": 1 for number in range(1000)} | {f"made-up-{number}": 1 for number in range(1000)}
    running = [recorder(segment(1, started=1), number=number) for number in range(1, 500)]
    text = MetricsPage().text(taken(stored=replace(NONE, causes=many), recorders=running, disks=disks))
    assert len(samples(text)) < 150
    assert deaths_by_kind(many) == dict.fromkeys(CAUSES, 0) | {"exit": 1000, "other": 1000}
    assert b"secret-name" not in text
    assert b"hidden" not in text


def test_a_restart_is_counted_once_and_a_rotation_is_none() -> None:
    restarts = Restarts()
    dead = segment(1, started=1, ended=5, cause="signal:9")
    assert restarts.of(recorder(segment(1, started=1))) == []
    assert restarts.of(recorder(dead)) == []
    assert restarts.of(recorder(dead, segment(2, started=None))) == []
    again = recorder(dead, segment(2, started=5.25))
    assert restarts.of(again) == [0.25]
    assert restarts.of(again) == []
    rotated = recorder(dead, segment(2, started=5.25, ended=9, cause="rotated"), segment(3, started=8))
    assert restarts.of(rotated) == []
    assert restarts.of(replace(rotated, state=State.COMPLETED)) == []
    assert restarts.of(replace(rotated, state=State.COMPLETED)) == []


def test_restarts_before_the_daemon_are_not_its_own() -> None:
    restarts, found = Restarts(), recorder(segment(1, started=1, ended=5, cause="oom"), segment(2, started=6))
    restarts.skip(found)
    assert restarts.of(found) == []


def test_dashboard_and_alerts_ask_for_what_there_is() -> None:
    page = MetricsPage()
    text = page.text(taken(disks=[DiskFigures(place="/r", free=1, left=1)], catalogue=CatalogueState(0, None)))
    known = {name for name, _ in samples(text)}
    dashboard = (ROOT / "docs" / "grafana" / "streamvaultd.json").read_text()
    alerts = (ROOT / "docs" / "prometheus" / "alerts.yml").read_text()
    expressions = [target["expr"] for panel in json.loads(dashboard)["panels"] for target in panel["targets"]]
    shown = set(re.findall(r"streamvaultd_\w+", " ".join(expressions)))
    alerted = set(re.findall(r"streamvaultd_\w+", alerts))
    assert shown | alerted <= known
    unseen = known - shown - alerted
    assert unseen == {
        "streamvaultd_build_info",
        "streamvaultd_restart_seconds_count",
        "streamvaultd_restart_seconds_sum",
    }
    names = [family.name for family in families(taken(), Rising())]
    assert len(set(names)) == len(names)


async def test_the_store_has_the_sums(tmp_path: Path) -> None:
    files = SegmentFiles()
    store = await QueryableStore.open(
        tmp_path / "s.sqlite", paths=lambda recording, number: str(files.segment_path(recording, number))
    )
    try:
        made = await store.create_recording(
            streamer="a", url="u", quality="best", directory="/r", duration=None, policy=Policy(), now=CLOCK.now()
        )
        parts = (
            segment(1, started=1, ended=2, cause="oom", size=5),
            segment(2, started=3, ended=4, cause="oom", size=6),
        )
        await store.save(replace(made, state=State.COMPLETED, segments=parts, kept=True), parts)
        seam = SeamRecord(older=1, newer=2, kind="gap", method="none", gap_ms=250.0, certainty="likely")
        await store.add_seams(made.recording.id, [seam])
        assert await store.figures() == Figures(
            recordings={"completed": 1}, kept=1, causes={"oom": 2}, bytes=11, seams={"gap": 1}, gap_ms=250.0, steps={}
        )
    finally:
        await store.close()


# --- who asks --------------------------------------------------------------------------------------------------------


class Store:
    def __init__(self) -> None:
        self.asked = 0
        self.trouble: Exception | None = None
        self.hangs = False

    async def figures(self) -> Figures:
        self.asked += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.trouble is not None:
            raise self.trouble
        return replace(NONE, bytes=42)


class SetClock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> Moment:
        return at(self.seconds)


class Disks:
    """Nothing is recorded to them, unless it is said."""

    def __init__(self, *rooms: tuple[str, int, float]) -> None:
        self.rooms = rooms

    def outlook(self) -> tuple[tuple[str, int, float], ...]:
        return self.rooms


NOBODY = SimpleNamespace(watched={})
OLD = cast("Any", SimpleNamespace(trouble="it is old"))


def meter(store: Store, clock: SetClock) -> Meter:
    return Meter(
        store=store, recorders={}, disks=Disks(), catalogue=None, streamlinks=OLD, watches=NOBODY, clock=clock,
    )  # fmt: skip


async def test_the_store_is_asked_at_most_every_five_seconds() -> None:
    store, clock = Store(), SetClock()
    found = meter(store, clock)
    await asyncio.gather(*(found.snapshot() for _ in range(50)))
    assert store.asked == 1
    clock.seconds = 5.0
    assert (await found.snapshot()).bytes == 42
    assert (await found.snapshot()).streamlink_trouble
    assert store.asked == 2


async def test_a_store_that_fails_or_hangs_leaves_the_sums_of_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meters, "STORE_LIMIT", 0.01)
    store, clock = Store(), SetClock()
    found = meter(store, clock)
    await found.snapshot()
    store.trouble, clock.seconds = StoreUnavailable(url="x", why="y"), 10.0
    failed = await found.snapshot()
    store.hangs, clock.seconds = True, 20.0
    hung = await found.snapshot()
    assert [(each.bytes, each.store_up) for each in (failed, hung)] == [(42, False), (42, False)]


# --- how they are asked ----------------------------------------------------------------------------------------------


async def page() -> bytes:
    return b"figure 1\n"


@asynccontextmanager
async def served(path: Path) -> AsyncIterator[Path]:
    listener = serve.MetricsServer(page, CONTENT_TYPE)
    server = asyncio.create_task(listener.serve(f"unix:{path}"))
    try:
        async with asyncio.timeout(60):
            await listener.is_listening.wait()
        yield path
    finally:
        server.cancel()
        await asyncio.gather(server, return_exceptions=True)


async def ask(path: Path, request: bytes) -> bytes:
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    return answer


@pytest.mark.parametrize(
    ("request_", "status", "body"),
    [
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", b"200", b"figure 1\n"),
        (b"HEAD /metrics HTTP/1.1\r\n\r\n", b"200", b""),
        (b"GET /metrics?x=1 HTTP/1.1\r\n\r\n", b"200", b"figure 1\n"),
        (b"GET /other HTTP/1.1\r\n\r\n", b"404", b"see /metrics\n"),
        (b"POST /metrics HTTP/1.1\r\n\r\n", b"405", b"only GET\n"),
        (b"\0\r\n\r\n", b"405", b"only GET\n"),
    ],
)
async def test_requests(tmp_path: Path, request_: bytes, status: bytes, body: bytes) -> None:
    async with served(tmp_path / "m") as path:
        head, _, found = (await ask(path, request_)).partition(b"\r\n\r\n")
        assert (head.split(b" ")[1], found) == (status, body)
        assert stat.S_IMODE(path.stat().st_mode) == 0o660


async def test_a_request_without_end_is_cut_and_too_many_are_refused(tmp_path: Path) -> None:
    async with served(tmp_path / "m") as path:
        assert await ask(path, b"GET /" + b"x" * (serve.HEAD_MAX + 1)) == b""
        waiting = [await asyncio.open_unix_connection(path) for _ in range(serve.CONNECTIONS_MAX)]
        reader, writer = await asyncio.open_unix_connection(path)
        assert await reader.read() == b""
        for _, each in (*waiting, (reader, writer)):
            each.close()
            await each.wait_closed()
        async with asyncio.timeout(60):
            while await ask(path, b"GET /metrics HTTP/1.1\r\n\r\n") == b"":
                continue  # until it has seen that the others are gone


async def test_a_socket_of_before_is_replaced_and_a_file_is_not(tmp_path: Path) -> None:
    for _ in range(2):
        async with served(tmp_path / "m") as path:
            assert b"figure" in await ask(path, b"GET / HTTP/1.1\r\n\r\n")
    precious = tmp_path / "precious"
    precious.write_text("x")
    with pytest.raises(FileExistsError):
        await serve.MetricsServer(page, CONTENT_TYPE).serve(f"unix:{precious}")
    assert precious.read_text() == "x"


def test_a_textfile_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "s.prom"
    path.write_text("old")
    serve.write_textfile(path, b"new\n")
    assert path.read_bytes() == b"new\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert list(tmp_path.iterdir()) == [path]


class Told:
    def __init__(self) -> None:
        self.entries: list[tuple[Entry, dict[str, object]]] = []

    def tell(self, entry: Entry, **values: object) -> None:
        entry.text.format_map(values)
        self.entries.append((entry, values))


async def test_what_cannot_be_provided_is_told_once_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meters, "RETRY_INTERVAL", 0.0)
    told, tries = Told(), 0

    async def work() -> None:
        nonlocal tries
        tries += 1
        if tries == 5:
            raise asyncio.CancelledError
        raise OSError(98, "Address already in use")

    with pytest.raises(asyncio.CancelledError):
        await provide("127.0.0.1:9464", work, 0.0, cast("Journal", told))
    assert [entry for entry, _ in told.entries] == [METRICS_FAILED]


def appeared(*paths: Path) -> None:
    """Return once these are there."""
    until = time.monotonic() + 60
    while not all(path.exists() for path in paths):
        assert time.monotonic() < until


async def test_the_daemon_provides_what_is_asked_for(tmp_path: Path) -> None:
    files = SegmentFiles()
    store = await QueryableStore.open(
        tmp_path / "s.sqlite", paths=lambda recording, number: str(files.segment_path(recording, number))
    )
    settings = Settings(metrics_listen=f"unix:{tmp_path}/m", metrics_textfile=str(tmp_path / "s.prom"))
    tasks = Begun()

    base = cast("Any", SimpleNamespace(
        settings=LiveSettings(settings), clock=CLOCK, tasks=tasks, lanes=Lanes(), recorders={}, journal=Told(),
        store=store,
    ))  # fmt: skip
    ledger = Ledger(base, disks=Disks(("/r", 5, 6.0)), catalogue=None, streamlinks=OLD, watches=NOBODY)
    try:
        ledger.start([])
        ledger.on_change(recorder(segment(1, started=1, ended=5, cause="oom"), segment(2, started=5.2)))
        await asyncio.to_thread(appeared, tmp_path / "m", tmp_path / "s.prom")
        answer = await ask(tmp_path / "m", b"GET /metrics HTTP/1.1\r\n\r\n")
        found = samples(answer.partition(b"\r\n\r\n")[2])
        assert found["streamvaultd_disk_left_seconds", "/r"] == 6
        assert found["streamvaultd_restart_seconds_count", ""] == 1
        assert found["streamvaultd_store_up", ""] == 1
        assert found["streamvaultd_streamlink_trouble", ""] == 1
        assert samples((tmp_path / "s.prom").read_bytes()).keys() == found.keys()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await store.close()
