# SPDX-License-Identifier: GPL-3.0-or-later
"""A recording over time: its segments, deaths, seams and what is missing; as text, and as an SVG. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple
from xml.sax.saxutils import escape as escape_xml

from streamvaultd.ctl.show.render import state_style
from streamvaultd.ctl.show.text import Line, Span, Style, escape, format_elapsed, format_short_time, line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamvaultd.ctl.records import Recording, Segment
    from streamvaultd.ctl.show.result import Seam

LABEL: Final = 8
ABOUT: Final = 24
BAR_MIN: Final = 16
"""Columns of the label in front, of what is said behind, and of the bar between, at least."""

WIDE: Final = 1000
ROW: Final = 26
"""Of the drawing, in its units."""

_KIND_STYLES: Final = {"exact": Style.GOOD, "union": Style.GOOD, "break": Style.BUSY}


class Scale(NamedTuple):
    """Times (µs) on so many places."""

    begin: int
    end: int
    places: int

    def at(self, time: int) -> int:
        """The place of a time."""
        share = (time - self.begin) / max(self.end - self.begin, 1)
        return min(max(int(share * self.places), 0), self.places - 1)


class Run(NamedTuple):
    """A segment that has begun."""

    segment: Segment
    begin: int
    end: int

    @property
    def about(self) -> str:
        """How it is, or why it ended, and how long it ran."""
        how = self.segment.cause or self.segment.phase
        return f"{how}, {format_elapsed(self.end - self.begin)}"


def runs_of(segments: Sequence[Segment], now: int) -> list[Run]:
    """The segments that have begun, in the order of their numbers."""
    return [Run(each, each.started, each.ended or now) for each in segments if each.started is not None]


def lines_of(recording: Recording, runs: Sequence[Run], seams: Sequence[Seam], now: int, columns: int) -> list[Line]:
    """A line for each segment, and one for the seams; as wide as `columns`, if they are enough."""
    scale = _scale(recording, runs, now, max(columns - LABEL - ABOUT, BAR_MIN))
    shown = [_axis(scale), *(_bar(run, scale) for run in runs)]
    if seams:
        shown.append(_marks(runs, seams, scale))
    return shown


def _scale(recording: Recording, runs: Sequence[Run], now: int, places: int) -> Scale:
    begin = min([run.begin for run in runs], default=recording.started)
    return Scale(begin, max([run.end for run in runs], default=recording.ended or now), places)


def _axis(scale: Scale) -> Line:
    begin, end = format_short_time(scale.begin), format_short_time(scale.end)[11:]
    space = " " * max(scale.places - len(begin) - len(end), 1)
    return line(" " * LABEL + begin + space + end, Style.FAINT)


def _bar(run: Run, scale: Scale) -> Line:
    first, last = scale.at(run.begin), scale.at(run.end)
    is_running = run.segment.ended is None
    tip = "\N{MULTIPLICATION SIGN}" if run.segment.is_death else "▶" if is_running else "━"
    style = Style.BAD if run.segment.is_death else state_style(run.segment.phase) if is_running else Style.PLAIN
    return (
        Span(f"{run.segment.number:03d}".ljust(LABEL)),
        Span(" " * first),
        Span("━" * (last - first), Style.GOOD),
        Span(tip, style),
        Span(" " * (scale.places - last) + run.about, style),
    )


def _marks(runs: Sequence[Run], seams: Sequence[Seam], scale: Scale) -> Line:
    """Where segments meet, and where something is missing."""
    starts = {run.segment.number: run.begin for run in runs}
    places = dict.fromkeys(range(scale.places), Span(" "))
    for seam in seams:
        if seam.newer in starts:
            mark = "▒" if seam.kind == "gap" else "│"
            places[scale.at(starts[seam.newer])] = Span(mark, _KIND_STYLES.get(seam.kind, Style.BAD))
    return (Span("seams".ljust(LABEL)), *places.values(), Span(f" {_told(seams)}"))


def _told(seams: Sequence[Seam]) -> str:
    gaps = [seam for seam in seams if seam.kind == "gap"]
    if not gaps:
        return "nothing missing"
    known = sum(seam.gap or 0 for seam in gaps)
    unknown = any(seam.gap is None for seam in gaps)
    return f"{known / 1e6:.1f} s missing{', and more' if unknown else ''}"


def svg_of(recording: Recording, runs: Sequence[Run], seams: Sequence[Seam], now: int) -> str:
    """The same as a drawing."""
    scale = _scale(recording, runs, now, WIDE)
    starts = {run.segment.number: run.begin for run in runs}
    height = ROW * (len(runs) + 2)
    name = f"{recording.streamer}, recording {recording.id}"
    shapes = ['<rect width="100%" height="100%" fill="#ffffff"/>']  # where a page is dark, its text would not be seen
    shapes.append(_text(80, 16, f"{name}: {format_short_time(scale.begin)} to {format_short_time(scale.end)}"))
    for row, run in enumerate(runs, 1):
        first, wide, top = 80 + scale.at(run.begin), max(scale.at(run.end) - scale.at(run.begin), 2), row * ROW
        colour = "#c01c28" if run.segment.is_death else "#2ec27e" if run.segment.ended is None else "#3584e4"
        shapes.append(_text(8, top + 14, f"{run.segment.number:03d}"))
        shapes.append(f'<rect x="{first}" y="{top + 4}" width="{wide}" height="{ROW - 10}" rx="3" fill="{colour}">')
        shapes.append(f"<title>{_xml(f'segment {run.segment.number:03d}: {run.about}')}</title></rect>")
        shapes.append(_text(80 + WIDE + 12, top + 14, run.about))
    for seam in seams:
        if seam.newer in starts:
            colour = "#e01b24" if seam.kind == "gap" else "#9a9996"
            place = 80 + scale.at(starts[seam.newer])
            shapes.append(f'<line x1="{place}" y1="{ROW}" x2="{place}" y2="{height - ROW}" stroke="{colour}">')
            shapes.append(
                f"<title>{_xml(f'{seam.older:03d}-{seam.newer:03d}: {seam.kind}, {seam.certainty}')}</title></line>"
            )
    shapes.append(_text(80, height - 8, _told(seams)) if seams else "")
    size = f'width="{WIDE + 320}" height="{height}" viewBox="0 0 {WIDE + 320} {height}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="13">'
    return "\n".join([head, *filter(None, shapes), "</svg>"])


def _text(x: int, y: int, text: str) -> str:
    return f'<text x="{x}" y="{y}">{_xml(text)}</text>'


def _xml(text: str) -> str:
    return escape_xml(escape(text))
