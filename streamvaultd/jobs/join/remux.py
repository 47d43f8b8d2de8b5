# SPDX-License-Identifier: GPL-3.0-or-later
"""A joined transport stream as an MP4 whose index comes first, by ffmpeg, without a change to what is in it.

The transport stream goes only when the MP4 has been read back from disk and has all units of each of its streams, with
their times (media/same_media.py): pictures and sound in tracks, and what MP4 has no track for, such as timed ID3 and
SCTE-35, packet for packet in a box at its end. Whatever is amiss, it stays: a recording is never worse off for this.
docs/design/003-join.md
"""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from streamvaultd.base.memory_file import memfd_with
from streamvaultd.base.units import format_size
from streamvaultd.jobs.join import output, passes
from streamvaultd.jobs.join.passes import Passes, PassWatch
from streamvaultd.media import mp4, same_media, timeline, ts
from streamvaultd.media.chapters import Chapter, ffmetadata, is_long
from streamvaultd.media.programs import first_change, media_pids
from streamvaultd.media.source import FileSource

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SUFFIX: Final = ".mp4"
ERROR_MAX: Final = 200
"""Characters of what ffmpeg says that a note quotes: of the last line that says anything."""

WRITE_OUT: Final = 0.25
"""How often (s) what ffmpeg has written leaves memory: dirty and cached pages count against the job's limit."""

MEMORY_SHARE: Final = 0.75
"""Of the job's limit, for ffmpeg, which holds an index of all packets: it gives up before the kernel ends the job."""

SLACK_MS: Final = 1500
"""How far two durations may be apart: that of the last picture, and of sound that begins later or ends earlier."""

IS_TS: Final = ("-f", "mpegts")
"""ffmpeg takes what begins with a picture for one: some sites put a PNG in front of each media segment."""

PROTOCOLS: Final = "file,pipe"
"""All that ffmpeg may open, whatever the media name."""

ROOM: Final = 1.02
"""The MP4's bytes, at most, as a share of the transport stream's; nearly always it is smaller."""


ITS_CLOCK: Final = ("-copyts", "-start_at_zero")
"""The clock of the media as it is. Without, ffmpeg puts one behind the other what has clocks of its own."""


class KeptAsReceived(Exception):
    """Why the transport stream stays what it is."""


class _Streams(NamedTuple):
    """The PIDs of pictures and sound, in the order of ffmpeg's tracks, and how many clocks they have."""

    pids: list[int]
    clocks: int


def to_mp4(
    source: Path,
    duration_ms: int | None,
    *,
    reserve: int,
    memory: int,
    moved: Callable[[int], None],
    has_failed: bool = False,
    chapters: tuple[Chapter, ...] = (),
) -> Path:
    """Make an MP4 of a transport stream, prove it, and remove the transport stream; the MP4's path.

    `reserve`: bytes to leave free; `memory`: bytes that the job may have; `moved` gets how many bytes came. One
    that an earlier run made is accepted if it is as good; where one `has_failed`, maybe for this, none is made.
    Raises KeptAsReceived and OSError; then the transport stream is there.
    """
    final = source.with_suffix(SUFFIX)
    if has_failed and not final.exists():  # before anything else: whatever failed is not done again
        output.remove_stale(_draft_of(final))
        raise KeptAsReceived(f"an earlier try of the join did not come through, {_perhaps_for_memory(memory)}")
    streams = _require_constancy(source)
    bar = Passes(source.stat().st_size, moved)
    bar.at(passes.READ)
    if not final.exists():
        part = _draft_of(final)
        output.remove_stale(part)
        order = Order(source, part, chapters, duration_ms or 0, reserve, memory)
        try:
            is_one = streams.clocks == 1
            bar.part(0.0, 1.0 if is_one else 0.5)
            if is_one or not _is_made(order, duration_ms, streams, bar):
                bar.part(0.0 if is_one else 0.5, 1.0)
                _make(order, ITS_CLOCK, bar)
                _prove(source, part, duration_ms, streams, bar, is_new=True)
            output.publish(part, final)
        finally:
            output.remove_stale(part)
    else:
        _prove(source, final, duration_ms, streams, bar, is_new=False)
    bar.end()
    source.unlink()
    output.sync_folder(source.parent)
    return final


def _draft_of(final: Path) -> Path:
    return final.with_name(f".{final.name}.part")


def _require_constancy(source: Path) -> _Streams:
    """What is in the transport stream, if it is the same from start to end.

    ffmpeg leaves out streams that begin later or that it does not know, and describes all sound as it does the first:
    nothing of this is noticed.
    """
    with output.opened(source, os.O_RDONLY) as fd:
        media = FileSource.of(fd)
        change, pids, clocks = first_change(media), media_pids(media), timeline.read_pieces(media).count
        late = timeline.late_unit(media)
    if change is not None:
        raise KeptAsReceived(
            f"its streams, or the format of its sound, change at byte {change}, which an MP4 cannot hold"
        )
    if late is not None:
        seconds = late.late / (1000 * ts.TICKS_PER_MS)
        what = f"what begins at byte {late.at} is to be shown {seconds:.0f} s after it is decoded"
        raise KeptAsReceived(f"{what}, and an MP4 would last as long")
    known = _known_pids(source)
    if unknown := sorted(pids - set(known)):
        raise KeptAsReceived(f"ffmpeg does not know what the streams of PID {', '.join(map(str, unknown))} are")
    return _Streams([pid for pid in known if pid in pids], clocks)


def _known_pids(source: Path) -> list[int]:
    """The PIDs of what ffmpeg takes for pictures or sound of a codec that it knows: first those of pictures."""
    streams = _ask(source, *IS_TS, "-show_entries", "stream=id,codec_type,codec_name").get("streams", [])
    return [
        int(each["id"], 16)
        for kind in ("video", "audio")
        for each in streams
        if each.get("codec_type") == kind and each.get("codec_name", "unknown") != "unknown" and "id" in each
    ]


class Order(NamedTuple):
    """What ffmpeg is to make of what, and within which limits."""

    source: Path
    part: Path
    chapters: tuple[Chapter, ...]
    duration_ms: int
    reserve: int
    memory: int


def _is_made(order: Order, duration_ms: int | None, streams: _Streams, bar: Passes) -> bool:
    """Whether ffmpeg makes a proven MP4 by putting clock behind clock; what it made else is gone."""
    try:
        _make(order, (), bar)
        _prove(order.source, order.part, duration_ms, streams, bar, is_new=True)
    except KeptAsReceived:
        output.remove_stale(order.part)
        return False
    return True


def _make(order: Order, clock: tuple[str, ...], bar: Passes) -> None:
    size, disk = order.source.stat().st_size, os.statvfs(order.source.parent)
    if disk.f_bavail * disk.f_frsize < size * ROOM + order.reserve:
        raise KeptAsReceived("there is no room for a second copy")
    named = ("-f", "ffmetadata", "-i", "pipe:0") if order.chapters else ()
    taken = ("-map_metadata", "0", "-map_chapters", "1") if order.chapters else ()
    flags = "+faststart+disable_chpl" if is_long(order.chapters) else "+faststart"
    command = (
        "ffmpeg", "-nostdin", "-y", "-v", "error", "-protocol_whitelist", PROTOCOLS, *clock[:1], *IS_TS,
        "-i", f"file:{order.source}", *named, "-map", "0:v?", "-map", "0:a?", *taken,
        "-c", "copy", "-copyinkf", *clock[1:], "-movflags", flags, "-f", "mp4", f"file:{order.part}",
    )  # fmt: skip
    with output.opened(order.part, os.O_RDWR | os.O_CREAT | os.O_EXCL) as fd:
        told = ffmetadata(order.chapters, order.duration_ms) if order.chapters else ""
        _run(command, told, fd, order.memory, PassWatch(fd, size, bar))
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


def _run(command: tuple[str, ...], told: str, fd: int, memory: int, looks: PassWatch) -> None:
    """Run ffmpeg, which reads `told` and writes the file behind the descriptor; write out what it wrote meanwhile."""
    given = memfd_with("chapters", told)  # all there when it is read: a pipe holds 64 KiB, and somebody has to fill it
    try:
        process = _started(command, given, memory)
    finally:
        os.close(given)
    said: str | None = None
    with process:
        while said is None:
            try:
                _, said = process.communicate(timeout=WRITE_OUT)
            except subprocess.TimeoutExpired:
                output.write_out(fd, 0, 0, output.SYNC_FILE_RANGE_ALL)
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                looks.look()
    if process.returncode:
        raise KeptAsReceived(_failure(process.returncode, said, memory))


def _started(command: tuple[str, ...], given: int, memory: int) -> subprocess.Popen[str]:
    before = resource.getrlimit(resource.RLIMIT_DATA)
    # Inherited: a confined process cannot set the limits of another one
    resource.setrlimit(resource.RLIMIT_DATA, (round(memory * MEMORY_SHARE), before[1]))
    try:
        return subprocess.Popen(command, stdin=given, stderr=subprocess.PIPE, encoding="utf-8", errors="replace")
    except FileNotFoundError:
        raise KeptAsReceived("ffmpeg is not installed") from None
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def _failure(status: int, said: str, memory: int) -> str:
    """Why ffmpeg made nothing of it, in one line."""
    if status == -signal.SIGKILL or _NO_MEMORY.search(said):
        return f"ffmpeg had too little memory: {_limit(memory)}"
    lines = [_TAG.sub("", line).strip() for line in said.splitlines()]
    told = [line for line in lines if line and line not in _EMPTY_WORDS]
    why = told[-1][:ERROR_MAX].rstrip(".") if told else f"it ended with status {status}"
    return f"ffmpeg could not do it: {why}"


_NO_MEMORY: Final = re.compile("annot allocate memory|cannot map zero-fill pages|failed to map segment")
"""As ffmpeg says it, and the loader of its libraries."""

_TAG: Final = re.compile(r"\[[^\]@]{1,80}@ 0x[0-9a-f]{1,16}\] ?")
"""Which part of ffmpeg speaks, by its address."""

_EMPTY_WORDS: Final = frozenset({"Conversion failed!"})


def _perhaps_for_memory(memory: int) -> str:
    return f"perhaps for want of memory: {_limit(memory)}"


def _limit(memory: int) -> str:
    return f"job_memory_max is {format_size(memory)}; raise it in [limits], or for this streamer alone"


def _prove(source: Path, made: Path, duration_ms: int | None, streams: _Streams, bar: Passes, *, is_new: bool) -> None:
    """Raises KeptAsReceived unless all is there; one that `is_new` gets what MP4 has no track for."""
    bar.at(passes.MOVED)
    found = _presented_ms(made)
    if duration_ms is None or abs(found - duration_ms) > SLACK_MS:
        raise KeptAsReceived(f"the MP4 would last {found} ms, and not {duration_ms}")
    with output.opened(source, os.O_RDONLY) as fd, output.opened(made, os.O_RDWR if is_new else os.O_RDONLY) as target:
        media = FileSource.of(fd)
        try:
            others = same_media.require_same(media, FileSource.of(target), streams.pids, streams.clocks)
        except (same_media.Differs, mp4.Unreadable) as error:
            raise KeptAsReceived(f"the MP4 would lack something: {error}") from error
        bar.at((passes.MOVED + passes.COMPARED) / 2)
        if others and is_new:
            _append_others(media, others, target)
        if not same_media.has_others(media, FileSource.of(target), others):
            raise KeptAsReceived(f"the MP4 would lack what PID {', '.join(map(str, sorted(others)))} has")


def _presented_ms(made: Path) -> int:
    """How long an MP4's pictures and sound are presented; its chapters are a track of text, as long as was planned."""
    tracks = _ask(made, "-show_entries", "stream=codec_type,start_time,duration").get("streams", [])
    try:
        spans = [
            (float(each["start_time"]), float(each["start_time"]) + float(each["duration"]))
            for each in tracks
            if each.get("codec_type") in ("video", "audio")
        ]
        return round((max(end for _, end in spans) - min(begin for begin, _ in spans)) * 1000)
    except (ValueError, KeyError) as error:
        raise KeptAsReceived(f"ffprobe cannot read {made.name}") from error


def _append_others(media: FileSource, pids: set[int], target: int) -> None:
    """Put what MP4 has no track for to its end, durably, and out of memory, so that it is read back from disk."""
    at = os.lseek(target, 0, os.SEEK_END)
    output.write_all(target, same_media.others_head(0))
    size = 0
    for packets in same_media.packets_of(media, pids):
        output.write_all(target, packets)
        size += len(packets)
    os.lseek(target, at, os.SEEK_SET)
    output.write_all(target, same_media.others_head(size))
    os.fsync(target)
    os.posix_fadvise(target, at, 0, os.POSIX_FADV_DONTNEED)


def _ask(path: Path, *options: str) -> dict[str, Any]:
    command = ("ffprobe", "-v", "error", "-protocol_whitelist", PROTOCOLS, *options, "-of", "json", f"file:{path}")
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True)
        found: dict[str, Any] = json.loads(done.stdout)
    except FileNotFoundError:
        raise KeptAsReceived("ffmpeg is not installed") from None
    except (subprocess.CalledProcessError, ValueError) as error:
        raise KeptAsReceived(f"ffprobe cannot read {path.name}") from error
    return found
