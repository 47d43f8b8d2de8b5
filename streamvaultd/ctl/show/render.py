# SPDX-License-Identifier: GPL-3.0-or-later
"""What streamvaultctl shows, as lines and tables. Pure: records and the present time in, text out."""

from __future__ import annotations

from streamvaultd.base.units import format_size, format_span
from streamvaultd.ctl.show.chatting_text import chat_count, chat_of, chat_text
from streamvaultd.ctl.show.table import Column, Table
from streamvaultd.ctl.show.text import (
    Line,
    Span,
    Style,
    format_elapsed,
    format_relative,
    format_short_time,
    format_since,
    line,
    plural,
    width,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Final

    from streamvaultd.ctl.commands.admin import Streamlink
    from streamvaultd.ctl.records import DaemonStatus, Event, Mistake, Progress, Recording, Segment

LAST_DEATHS: Final = 3
"""How many deaths `status` names."""

LAST_SEGMENTS: Final = 5
"""How many segments `status` shows."""

_STATE_STYLES: Final = {
    "recording": Style.GOOD,
    "rotating": Style.GOOD,
    "running": Style.GOOD,
    "writing": Style.GOOD,
    "completed": Style.PLAIN,
    "stopped": Style.PLAIN,
    "ended": Style.PLAIN,
    "removed": Style.FAINT,
    "paused": Style.BAD,
    "unjoined": Style.BAD,
    "failed": Style.BAD,
}
_DOTS: Final = {
    Style.GOOD: "●",
    Style.BUSY: "●",
    Style.BAD: "\N{MULTIPLICATION SIGN}",
    Style.PLAIN: "○",
    Style.FAINT: "○",
}
_INDENT: Final = 4
_LOG_ERR: Final = 3
_LOG_NOTICE: Final = 5


def state_style(state: str) -> Style:
    """Green runs, yellow is on its way, red failed or cannot go on, plain is over."""
    return _STATE_STYLES.get(state, Style.BUSY)


def dot(state: str) -> Span:
    """The mark in front of a status block."""
    style = state_style(state)
    return Span(_DOTS[style], style)


def recording_table(
    recordings: Iterable[Recording], now: int, titles: Mapping[int, tuple[str, str]] | None = None
) -> Table:
    """One row for each recording, in the order given.

    With title and category of its stream, and the messages of its chat, if `titles` are given.
    """
    columns = (
        Column("ID", is_number=True),
        Column("STREAMER", least=12),
        Column("STATE"),
        Column("SEGMENTS", is_number=True, drop=5),
        Column("SIZE", is_number=True, drop=1),
        Column("STARTED", drop=3),
        Column("RUNTIME", drop=4),
        Column("RESULT", least=24, drop=2),
    )
    listed = tuple(recordings)
    rows = [(*_recording_row(each, now), *_titles_of(each, titles)) for each in listed]
    named = () if titles is None else (Column("TITLE", least=16, drop=6), Column("CATEGORY", least=8, drop=7))
    if titles is None or not any(map(chat_of, listed)):
        return Table((*columns, *named), tuple(rows))
    counted = tuple((*row, Span(chat_count(each))) for row, each in zip(rows, listed, strict=True))
    return Table((*columns, *named, Column("CHAT", is_number=True, drop=8)), counted)


def _titles_of(recording: Recording, titles: Mapping[int, tuple[str, str]] | None) -> tuple[Span, ...]:
    return () if titles is None else tuple(map(Span, titles.get(recording.stream, ("", ""))))


def _recording_row(recording: Recording, now: int) -> tuple[Span, ...]:
    return (
        Span(str(recording.id)),
        Span(recording.streamer, Style.STRONG),
        Span(recording.state + (", kept" if recording.kept else ""), state_style(recording.state)),
        Span(str(recording.segments)),
        Span(format_size(recording.bytes)),
        Span(format_short_time(recording.started)),
        Span(format_elapsed((recording.ended or now) - recording.started)),
        _result(recording),
    )


def _result(recording: Recording) -> Span:
    """The joined file; of a recording that is over and has none, why."""
    if recording.path is not None:
        return Span(recording.path)
    return Span((recording.detail or "") if recording.is_final else "", Style.FAINT)


def segment_table(segments: Iterable[Segment], now: int) -> Table:
    """One row for each segment, in the order given."""
    columns = (
        Column("SEGMENT", is_number=True),
        Column("PHASE"),
        Column("SIZE", is_number=True),
        Column("RUNTIME", drop=2),
        Column("CAUSE", least=8),
        Column("UNIT", drop=5),
        Column("PID", is_number=True, drop=6),
        Column("PEAK", is_number=True, drop=4),
        Column("LIMIT", is_number=True, drop=7),
        Column("STARTED", drop=3),
        Column("PATH", least=24, drop=1),
    )
    return Table(columns, tuple(_segment_row(segment, now) for segment in segments))


def _segment_row(segment: Segment, now: int) -> tuple[Span, ...]:
    started, cause = segment.started, segment.cause
    return (
        Span(f"{segment.number:03d}"),
        Span(segment.phase, state_style(segment.phase)),
        Span(format_size(segment.bytes)),
        Span("" if started is None else format_elapsed((segment.ended or now) - started)),
        Span(cause or "", Style.BAD if segment.is_death else Style.PLAIN),
        Span(segment.unit),
        Span("" if segment.pid is None else str(segment.pid)),
        Span("" if segment.memory_peak is None else format_size(segment.memory_peak)),
        Span("" if segment.memory_max is None else format_size(segment.memory_max)),
        Span("" if started is None else format_short_time(started)),
        Span(segment.path),
    )


def recording_block(
    recording: Recording, segments: Sequence[Segment], now: int, result: Sequence[tuple[str, Line]] = ()
) -> list[Line]:
    """The status of one recording, as `systemctl status` shows a unit; `result` is what came of it."""
    style = state_style(recording.state)
    title = (dot(recording.state), Span(" "), Span(recording.streamer, Style.STRONG))
    state = (Span(recording.state, style), Span(f" since {format_since(recording.since, now)}"))
    fields: list[tuple[str, Line]] = [("State", state)]
    if recording.detail:
        fields.append(("", line(recording.detail)))
    fields += [("Warning", line(text, Style.BAD)) for text in _troubles(segments)]
    if recording.retry_at is not None:
        fields.append(("", line(next_try(recording.retry_at, now))))
    fields += [(label, line(text)) for label, text in _facts(recording, segments, now) if text]
    fields += result
    return [
        (*title, Span(f" - recording {recording.id} of stream {recording.stream}")),
        *labelled(fields),
    ]


def _troubles(segments: Sequence[Segment]) -> list[str]:
    """What is wrong with the streams that are recorded now; what several segments have is said once."""
    return list(dict.fromkeys(segment.trouble for segment in segments if segment.trouble is not None))


def next_try(at: int, now: int) -> str:
    """When a recording that waits is tried again."""
    return f"it is tried again at {format_since(at, now)}"


def _facts(recording: Recording, segments: Sequence[Segment], now: int) -> list[tuple[str, str]]:
    return [
        ("Started", format_since(recording.started, now)),
        ("Ended", "" if recording.ended is None else format_since(recording.ended, now)),
        ("URL", recording.url),
        ("Quality", _quality(recording, segments)),
        ("Duration", "" if recording.duration is None else f"{format_span(recording.duration)} of media"),
        ("Joined", "" if recording.progress is None else bar(recording.progress, now - recording.since)),
        ("Directory", "" if recording.path else recording.directory),
        ("Result", recording.path or ""),
        ("Chat", chat_text(chat_of(recording))),
        ("Kept", "yes: no rule removes its media" if recording.kept else ""),
        ("Segments", _segment_count(recording)),
        ("Deaths", _last_deaths(segments, now)),
        ("Received", _received(recording, segments)),
        ("Rate", _rate(segments, now)),
        ("Rotation", _rotation(recording, now)),
        ("Waits", _given_up(recording, now)),
        ("Memory", _memory(recording, segments)),
    ]


def _quality(recording: Recording, segments: Sequence[Segment]) -> str:
    """What was asked for, and what is recorded if that is another name for it."""
    chosen = {segment.quality: None for segment in segments if segment.quality not in (None, recording.quality)}
    return recording.quality + (f" ({', '.join(map(str, chosen))})" if chosen else "")


def _last_deaths(segments: Sequence[Segment], now: int) -> str:
    """The last ones, the latest first."""
    died = [each for each in segments if each.is_death]
    told = [
        f"segment {each.number:03d} {each.cause}, {format_relative(each.ended or now, now)}"
        for each in reversed(died[-LAST_DEATHS:])
    ]
    return "; ".join([*told, f"{len(died) - len(told)} before"] if len(died) > len(told) else told)


def _received(recording: Recording, segments: Sequence[Segment]) -> str:
    """What the segments brought, overlaps included; the result of a join may have less."""
    return format_size(sum(each.bytes for each in segments) or recording.bytes)


def _given_up(recording: Recording, now: int) -> str:
    if recording.given_up is None:
        return ""
    return f"for the source until {format_since(recording.given_up, now)}, longer while nobody can ask it"


def _segment_count(recording: Recording) -> str:
    return str(recording.segments) + (f" ({plural(recording.deaths, 'death')})" if recording.deaths else "")


def _rate(segments: Sequence[Segment], now: int) -> str:
    writing = [segment for segment in segments if segment.phase == "writing" and segment.started is not None]
    if not writing:
        return ""
    latest = writing[-1]
    seconds = (now - (latest.started or now)) / 1_000_000
    return f"{format_size(round(latest.bytes / seconds))}/s, average of segment {latest.number}" if seconds > 0 else ""


def _rotation(recording: Recording, now: int) -> str:
    if recording.rotation_due is None:
        return ""
    by_size = f", or at {format_size(recording.rotate_size)}" if recording.rotate_size else ""
    return f"due {format_since(recording.rotation_due, now)}{by_size}"


def _memory(recording: Recording, segments: Sequence[Segment]) -> str:
    now = [segment.memory_now for segment in segments if segment.memory_now is not None]
    peaks = [segment.memory_peak for segment in segments if segment.memory_peak is not None]
    limit = f"limit {format_size(recording.memory_max)} for each segment"
    latest = segments[-1] if segments else None
    if latest is not None and latest.memory_max not in (None, recording.memory_max):
        first = format_size(recording.memory_max)
        limit = f"limit {format_size(latest.memory_max or 0)} for segment {latest.number}, {first} at first"
    used = [f"{format_size(sum(now))} now"] if now else []
    used += [f"peak {format_size(max(peaks))}"] if peaks else []
    return ", ".join([*used, limit])


def daemon_block(status: DaemonStatus, now: int) -> list[Line]:
    """The status of the daemon itself."""
    title = (dot(status.state), Span(" "), Span("streamvaultd", Style.STRONG), Span(f" {status.version}"))
    work = (
        plural(status.recordings, "recording"),
        plural(status.segments, "segment"),
        plural(status.jobs, "job"),
    )
    since = format_since(status.started, now)
    fields = [
        ("State", (Span(status.state, state_style(status.state)), Span(f" since {since}"))),
        ("Running", line(", ".join(work))),
        ("Streamlink", line(f"{status.streamlink_version or 'unusable'} ({status.streamlink_command})")),
        ("Store", line(status.store)),
    ]
    if status.streamlink_trouble is not None:
        fields.insert(3, ("Warning", line(status.streamlink_trouble, Style.BAD)))
    if status.catalogue is not None:
        waiting = plural(status.catalogue.backlog, "change")
        told = "has everything" if not status.catalogue.backlog else f"lacks {waiting}"
        fields.append(("Catalogue", line(told, Style.BAD if status.catalogue.trouble else Style.PLAIN)))
        if status.catalogue.trouble:
            fields.append(("", line(status.catalogue.trouble, Style.BAD)))
    if status.unreachable:
        fields.append(("Notifications", line(f"cannot reach {', '.join(status.unreachable)}", Style.BAD)))
    fields += [("Mistake" if at == 0 else "", line(mistake(one), Style.BAD)) for at, one in enumerate(status.mistakes)]
    fields += [("Confinement", line(why, Style.BAD)) for why in status.unconfined]
    return [title, *labelled(fields)]


def mistake(found: Mistake) -> str:
    """A mistake in a settings file, in one line."""
    return f"{found.file}: {found.text}"


def streamlink_block(streamlink: Streamlink) -> list[Line]:
    """Which streamlink the daemon uses."""
    kind = "managed by streamvaultd" if streamlink.managed else "of the system"
    fields = [("Version", line(streamlink.version)), ("Command", line(streamlink.command)), ("Kind", line(kind))]
    if streamlink.warning:
        fields.append(("Warning", line(streamlink.warning, Style.BUSY)))
    return labelled(fields, indent=0)


def labelled(fields: Iterable[tuple[str, Line]], *, indent: int = _INDENT) -> list[Line]:
    """One line for each field, as `systemctl status` shows them; one without a label goes on with the one before."""
    fields = list(fields)
    widest = indent + max(width(label) for label, _ in fields) + len(": ")
    return [(Span(f"{label}: ".rjust(widest) if label else " " * widest), *rest) for label, rest in fields]


def event_line(event: Event, streamer: str | None) -> Line:
    """One event of `monitor`, as journalctl(1) prints a line: time, what it is about, message."""
    about = "streamvaultd"
    if event.recording is not None:
        about = f"{streamer}[{event.recording}]" if streamer is not None else f"recording {event.recording}"
    style = Style.BAD if event.priority <= _LOG_ERR else Style.STRONG if event.priority <= _LOG_NOTICE else Style.PLAIN
    return (Span(f"{format_short_time(event.at)} "), Span(about, Style.STRONG), Span(": "), Span(event.message, style))


def state_line(recording: Recording, now: int, *, is_new: bool) -> Line:
    """The line of `monitor` for the state of a recording: one that it is found in, or has just come to."""
    about = f"{recording.streamer}[{recording.id}]"
    state = Span(recording.state, state_style(recording.state))
    since = "" if is_new else f" since {format_since(recording.since, now)}"
    stamp = format_short_time(recording.since if is_new else now)
    return (Span(f"{stamp} "), Span(about, Style.STRONG), Span(": is "), state, Span(since))


def name_of(recording: Recording) -> str:
    """How notes call a recording."""
    return f"recording {recording.id} of '{recording.streamer}'"


def journal_of(recording: Recording) -> list[str]:
    """What journalctl(1) needs to show its lines, and none of a recording that had its number in an earlier store."""
    return [f"STREAMVAULT_RECORDING={recording.id}", f"--since=@{recording.started // 1_000_000}"]


BAR_WIDTH: Final = 24


def bar(progress: Progress, elapsed: int) -> str:
    """How far a join is, as a bar: share, bytes, how long it takes, and the time that is left if that is known."""
    share = min(progress.done / progress.total, 1.0) if progress.total else 1.0
    full = round(share * BAR_WIDTH)
    left = "" if progress.left is None else f", {format_elapsed(progress.left)} left"
    sizes = f"{format_size(progress.done)} of {format_size(progress.total)}"
    time = f"{format_elapsed(elapsed)}{left}"
    return f"[{'#' * full}{'-' * (BAR_WIDTH - full)}] {int(100 * share):3d} %, {sizes}, {time}"


def progress(recording: Recording, *, has_detail: bool = True) -> str:
    """Where a recording that is waited for stands, in one line; changes only with its state and detail."""
    segment = f" segment {recording.segments}" if recording.state in {"recording", "rotating"} else ""
    detail = f" ({recording.detail})" if recording.detail and has_detail else ""
    return f"{name_of(recording)}: {recording.state}{segment}{detail}"
