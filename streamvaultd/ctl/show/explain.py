# SPDX-License-Identifier: GPL-3.0-or-later
"""How and why a segment ended, for people: the verdict, what each witness told, and what the daemon did next. Pure."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from streamvaultd.base.units import format_size, format_span
from streamvaultd.core.cause import Cause
from streamvaultd.ctl.show.render import dot, labelled, name_of, next_try, state_style
from streamvaultd.ctl.show.text import (
    Line,
    Span,
    Style,
    format_elapsed,
    format_offset,
    format_since,
    joined,
    line,
    plural,
    width,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from streamvaultd.ctl.records import End, Event, Evidence, Recording

Field = tuple[str, Line]


def recording_line(recording: Recording, now: int) -> Line:
    """How the whole recording is, why, and until when."""
    state = Span(recording.state, state_style(recording.state))
    why = f": {recording.detail}" if recording.detail else ""
    again = "" if recording.retry_at is None else f"; {next_try(recording.retry_at, now)}"
    return (Span(f"{name_of(recording)} is "), state, Span(why + again))


def end_block(recording: Recording, end: End, now: int) -> list[Line]:
    """All that is known of the end of one segment; of one that has not ended, that it has not."""
    has_failed = end.ended is not None and end.is_death
    title = (
        dot("failed" if has_failed else end.phase),
        Span(" "),
        Span(recording.streamer, Style.STRONG),
        Span(f" - segment {end.segment:03d} of recording {recording.id}"),
    )
    fields = _of_running(end, now) if end.ended is None else [*_of_end(end, end.ended, now)]
    return [title, *labelled(fields)]


def _of_running(end: End, now: int) -> list[Field]:
    since = "" if end.started is None else f", started {format_since(end.started, now)}"
    return [("State", (Span(end.phase, state_style(end.phase)), Span(f": it has not ended{since}")))]


def _of_end(end: End, ended: int, now: int) -> Iterator[Field]:
    cause = Span(end.cause or Cause.UNKNOWN, Style.BAD if end.is_death else Style.PLAIN)
    yield "Cause", (cause, Span(f", {end.why}" if end.why else ""))
    lasted = "" if end.started is None else f", after {format_elapsed(ended - end.started)}"
    yield "Ended", line(format_since(ended, now) + lasted)
    yield "Received", line(format_size(end.bytes))
    if end.evidence is None:
        yield "Witnesses", line("nothing was kept of what they told", Style.FAINT)
    else:
        yield from ((label, line(text)) for label, text in _witnesses(end.evidence) if text)
        yield from _labelled_once("Log", [line(text) for text in end.evidence.log])
    if end.replaced_by is not None:
        yield "Replaced", line(_replacement(end))
    yield from _labelled_once("Events", _event_lines(end.events, ended))


def _witnesses(evidence: Evidence) -> list[tuple[str, str]]:
    return [
        ("Asked", "" if evidence.asked is None else f"it was asked to end, noted as {evidence.asked}"),
        ("Exit", _exit(evidence)),
        ("Shim", "" if evidence.shim_status is None else _status(evidence.shim_status)),
        ("Memory", _memory(evidence)),
        ("CPU", "" if evidence.cpu is None else format_span(evidence.cpu // 1000 * 1000)),
        ("Unit", "" if evidence.unit_result is None else f"result {evidence.unit_result}"),
        ("Journal", _journal(evidence)),
        ("Kernel", evidence.kernel_oom or ""),
        ("Machine", _machine(evidence)),
        ("File", "" if evidence.file is None else f"somebody has {evidence.file} it while it was written"),
    ]


def _exit(evidence: Evidence) -> str:
    if evidence.error is not None:
        return evidence.error
    return "no exit record" if evidence.status is None else _status(evidence.status)


def _status(status: int) -> str:
    """An exit code, or minus a signal."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by signal {-status} ({signal.Signals(-status).name})"
    except ValueError:
        return f"killed by signal {-status}"


def _memory(evidence: Evidence) -> str:
    resident = None if evidence.max_rss is None else f"{format_size(evidence.max_rss << 10)} resident in streamlink"
    peak = None if evidence.memory_peak is None else f"peak {format_size(evidence.memory_peak)}"
    limit = None if evidence.memory_max is None else f"limit {format_size(evidence.memory_max)}"
    kills = plural(evidence.oom_kills, "OOM kill") if evidence.oom_kills else None
    return ", ".join(part for part in (kills, peak, limit, resident) if part)


def _journal(evidence: Evidence) -> str:
    oomd = "systemd-oomd told that it killed the scope" if evidence.journal_oomd else ""
    stopped = "somebody had systemd stop the scope while no daemon ran" if evidence.unit_stopped else ""
    return joined(["systemd told of an OOM kill in the scope" if evidence.journal_oom else "", oomd, stopped])


def _machine(evidence: Evidence) -> str:
    down = "it was going down, or has been started since" if evidence.host_down else ""
    link = "it had no network" if evidence.link_down else ""
    return joined([down, link, f"its disk was {evidence.disk}" if evidence.disk else ""])


def _replacement(end: End) -> str:
    parts = [f"by segment {end.replaced_by:03d}"]
    if end.replaced_after is not None:
        parts.append(f"which ran {_relative(end.replaced_after)}")
    if end.recorded_after is not None:
        parts.append(f"and recorded {_relative(end.recorded_after)}")
    return " ".join(parts).replace(" which", ", which", 1)


def _relative(usec: int) -> str:
    return f"{format_offset(abs(usec))[1:]} {'later' if usec >= 0 else 'before'}"


def _event_lines(events: Sequence[Event], ended: int) -> list[Line]:
    offsets = [format_offset(event.at - ended) for event in events]
    widest = max(map(width, offsets), default=0)
    return [
        (Span(f"{offset.rjust(widest)}  ", Style.FAINT), Span(event.message))
        for offset, event in zip(offsets, events, strict=True)
    ]


def _labelled_once(label: str, lines: Sequence[Line]) -> list[Field]:
    return [(label if not index else "", text) for index, text in enumerate(lines)]
