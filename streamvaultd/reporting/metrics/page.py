# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures -> the text that Prometheus reads. The only module that imports prometheus-client; loaded only if wanted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import prometheus_client
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from streamvaultd.reporting.metrics.figures import Rising, Snapshot

PREFIX: Final = "streamvaultd"
CONTENT_TYPE: Final = prometheus_client.CONTENT_TYPE_LATEST
RESTART_BUCKETS: Final = (0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800)
"""Seconds; within 0.1 s a death is answered, what takes longer waits for a retry or for the source."""


class MetricsPage:
    """The metrics, and how they are written. Counters begin as sums over the store, so they outlive the daemon."""

    def __init__(self) -> None:
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self._figures = _Figures()
        self._registry.register(self._figures)
        self._restarts = Histogram(
            f"{PREFIX}_restart_seconds",
            "From a segment's death to the start of its successor, since this daemon started.",
            registry=self._registry,
            buckets=RESTART_BUCKETS,
        )

    def observe_restart(self, seconds: float) -> None:
        """A segment that died has a successor, after so long."""
        self._restarts.observe(seconds)

    def text(self, found: Snapshot) -> bytes:
        """The page for these figures."""
        self._figures.found = found
        return generate_latest(self._registry)


class _Figures(Collector):
    def __init__(self) -> None:
        self.found: Snapshot | None = None
        self._rising = Rising()

    def collect(self) -> Iterable[Metric]:
        return [] if self.found is None else list(families(self.found, self._rising))


def families(found: Snapshot, rising: Rising) -> Iterable[Metric]:
    """The families of a snapshot; its sums as they are, of which `rising` remembers those before."""
    yield _gauge("build_info", "Which version runs; always 1.", {found.version: 1}, "version")
    yield _gauge("store_up", "Whether the store has answered; if not, its sums are those of before.", found.store_up)
    if found.has_sums:
        yield from _sums(found, rising)
    yield _gauge("recordings_active", "Recordings that are not over, by state.", found.states, "state")
    yield _gauge("segments_running", "Segments of which a process may exist.", found.segments)
    fullest = "of the running segment that is nearest to its limit"
    yield _gauge("segment_memory_bytes", f"Memory that cannot be taken back, {fullest}.", found.memory_used)
    yield _gauge("segment_memory_limit_bytes", f"MemoryMax= {fullest}.", found.memory_limit)
    yield _gauge(
        "segment_memory_peak_bytes",
        "The most that an ended segment of a recording that is not over has used, page cache included.",
        found.memory_peak,
    )
    yield _gauge(
        "disk_free_bytes",
        "Free on file systems that are recorded to.",
        {disk.place: disk.free for disk in found.disks},
        "place",
    )
    yield _gauge(
        "disk_left_seconds",
        "Until recordings pause for want of room, as fast as is written now.",
        {disk.place: disk.left for disk in found.disks},
        "place",
    )
    yield _gauge("streamers", "Streamers that are watched, by state.", found.streamers, "state")
    yield _gauge(
        "streamlink_trouble",
        "Whether streamlink is too old or cannot be used; 'streamvaultctl status' says why, and what to type.",
        found.streamlink_trouble,
    )
    if found.backlog is not None:
        yield _gauge("catalogue_backlog", "Changes that are not in the catalogue yet.", found.backlog)
        yield _gauge("catalogue_up", "Whether the catalogue could be fed the last time.", found.catalogue_up)


def _sums(found: Snapshot, rising: Rising) -> Iterable[Metric]:
    """What the store has to tell."""
    totals = rising.of("totals", {"bytes": found.bytes, "gap": found.gap_seconds})
    deaths, seams = rising.of("deaths", found.deaths), rising.of("seams", found.seams)
    yield _gauge("recordings", "Recordings in the store, by status.", found.recordings, "status")
    yield _gauge("recordings_kept", "Recordings that are marked to be kept.", found.kept)
    yield _gauge("steps", "What is made of recordings after their joins, by status.", found.steps, "status")
    yield _counter("received_bytes", "Bytes of all segments, overlaps included.", totals["bytes"])
    yield _counter("deaths", "Segments that ended though nobody asked for it, by cause.", deaths, "cause")
    yield _counter("seams", "Seams of joined files, by kind.", seams, "kind")
    yield _counter("seam_gap_seconds", "Missing time at seams, as far as it is known.", totals["gap"])


Figure = Mapping[str, float] | float


def _gauge(name: str, about: str, figure: Figure, label: str | None = None) -> Metric:
    return _filled(GaugeMetricFamily(f"{PREFIX}_{name}", about, labels=_labels(label)), figure)


def _counter(name: str, about: str, figure: Figure, label: str | None = None) -> Metric:
    return _filled(CounterMetricFamily(f"{PREFIX}_{name}", about, labels=_labels(label)), figure)


def _labels(label: str | None) -> list[str]:
    return [] if label is None else [label]


def _filled(family: GaugeMetricFamily | CounterMetricFamily, figure: Figure) -> Metric:
    if isinstance(figure, Mapping):
        for word, value in figure.items():
            family.add_metric([word], float(value))
    else:
        family.add_metric([], float(figure))
    return family
