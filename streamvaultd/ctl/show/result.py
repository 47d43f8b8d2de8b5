# SPDX-License-Identifier: GPL-3.0-or-later
"""What a join made of a recording, for people: the seams and their totals, the parts of the result. Pure."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

from streamvaultd.base.units import format_size
from streamvaultd.ctl.records import Fields, objects
from streamvaultd.ctl.show.table import Column, Table
from streamvaultd.ctl.show.text import Line, Span, Style, escape, format_elapsed, format_time, line, plural

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from streamvaultd.ctl.records import Answer

Field = tuple[str, Line]

CERTAINTIES: Final = ("proven", "likely", "unknown")
"""From the best to the worst."""

_KINDS: Final = ("exact", "union", "gap", "break")
_CERTAINTY_STYLES: Final = {"proven": Style.GOOD, "likely": Style.BUSY}
_KIND_STYLES: Final = {"exact": Style.GOOD, "union": Style.GOOD, "break": Style.BUSY}
_UNKNOWN: Final = "?"


class Seam(NamedTuple):
    """Times are µs; None is unknown."""

    older: int
    newer: int
    kind: str
    method: str
    certainty: str
    overlap_bytes: int
    overlap: int | None
    gap: int | None
    note: str | None


class Part(NamedTuple):
    """A file of a result; one that is kept has what of a segment could not be shown to be in the others."""

    path: str
    bytes: int
    duration: int | None
    is_kept: bool = False
    segment: int | None = None
    sha256: str | None = None


class Step(NamedTuple):
    """What is made of a result after the join. `retry_at` is a date (µs); `done` and `total` are of its job's work."""

    name: str
    status: str
    tries: int
    why: str | None
    retry_at: int | None
    done: int
    total: int
    files: tuple[Part, ...]
    uploads: tuple[Upload, ...] = ()


class Upload(NamedTuple):
    """A file that a remote has."""

    remote: str
    path: str

    @property
    def place(self) -> str:
        """As rclone names it."""
        return f"{self.remote}{self.path}" if self.remote.endswith(":") else f"{self.remote}/{self.path}"


class Result(NamedTuple):
    """The parts of a result, what the join noted, and the steps behind it."""

    parts: tuple[Part, ...]
    notes: tuple[str, ...]
    steps: tuple[Step, ...] = ()


class Totals(NamedTuple):
    """Of several seams. Times are µs, and of those seams that have them known."""

    kinds: tuple[tuple[str, int], ...]
    certainty: str
    """The worst."""
    overlap_bytes: int
    overlap: int
    gap: int
    gaps: int
    """Seams that are known to lack something."""
    unknown: int
    """Seams of which nothing tells what they lack."""


def parse_seam(answer: Answer) -> Seam:
    """From type Seam; raises BadAnswer."""
    top = Fields(answer, "seam")
    return Seam(
        older=top.need("older", int),
        newer=top.need("newer", int),
        kind=top.need("kind", str),
        method=top.need("method", str),
        certainty=top.need("certainty", str),
        overlap_bytes=top.integer("overlapBytes") or 0,
        overlap=top.integer("overlapUSec"),
        gap=top.integer("gapUSec"),
        note=top.text("note"),
    )


def parse_result(answer: Answer) -> Result:
    """From the reply of ListParts; raises BadAnswer."""
    parts = [Fields(part, "part") for part in objects(answer, "parts")]
    steps = objects(answer, "steps") if answer.get("steps") is not None else []
    notes = Fields(answer, "result").texts("notes")
    return Result(tuple(map(_parse_part, parts)), notes, tuple(map(_parse_step, steps)))


def _parse_step(answer: Answer) -> Step:
    step = Fields(answer, "step")
    progress = step.child("progress") if step.has("progress") else None
    return Step(
        name=step.need("name", str),
        status=step.need("status", str),
        tries=step.need("tries", int),
        why=step.text("why"),
        retry_at=step.maybe_time("retryAt"),
        done=0 if progress is None else progress.need("doneBytes", int),
        total=0 if progress is None else progress.need("totalBytes", int),
        files=tuple(_parse_part(Fields(file, "file")) for file in objects(answer, "files")),
        uploads=tuple(_parse_upload(Fields(each, "upload")) for each in objects(answer, "uploads"))
        if step.has("uploads")
        else (),
    )


def _parse_upload(upload: Fields) -> Upload:
    return Upload(upload.need("remote", str), upload.need("path", str))


def _parse_part(part: Fields) -> Part:
    return Part(
        path=part.need("path", str),
        bytes=part.need("bytes", int),
        duration=part.integer("durationUSec"),
        is_kept=part.truth("isKept") or False,
        segment=part.integer("segment"),
        sha256=part.text("sha256"),
    )


def totals(seams: Sequence[Seam]) -> Totals:
    """All seams of a recording, of which there is one at least, in a few numbers."""
    kinds = Counter(seam.kind for seam in seams)
    order = [*_KINDS, *sorted(kinds.keys() - set(_KINDS))]
    gaps = [seam.gap for seam in seams if seam.gap]
    return Totals(
        kinds=tuple((kind, kinds[kind]) for kind in order if kinds[kind]),
        certainty=max((seam.certainty for seam in seams), key=_badness),
        overlap_bytes=sum(seam.overlap_bytes for seam in seams),
        overlap=sum(seam.overlap or 0 for seam in seams),
        gap=sum(gaps),
        gaps=len(gaps),
        unknown=sum(1 for seam in seams if seam.gap is None and seam.kind == "gap"),
    )


def _badness(certainty: str) -> int:
    return CERTAINTIES.index(certainty) if certainty in CERTAINTIES else len(CERTAINTIES)


def seam_table(seams: Sequence[Seam]) -> Table:
    """One row for each seam, in the order given."""
    columns = (
        Column("SEGMENTS"),
        Column("KIND"),
        Column("METHOD", drop=3),
        Column("CERTAINTY"),
        Column("OVERLAP", is_number=True, drop=4),
        Column("OVERLAP MS", is_number=True, drop=2),
        Column("GAP MS", is_number=True),
        Column("NOTE", least=16, drop=1),
    )
    return Table(columns, tuple(_row(seam) for seam in seams))


def _row(seam: Seam) -> tuple[Span, ...]:
    lacks = Style.PLAIN if seam.gap == 0 else Style.BAD
    return (
        Span(f"{seam.older:03d}-{seam.newer:03d}"),
        Span(seam.kind, _KIND_STYLES.get(seam.kind, Style.BAD)),
        Span(seam.method),
        Span(seam.certainty, _CERTAINTY_STYLES.get(seam.certainty, Style.BAD)),
        Span(format_size(seam.overlap_bytes)),
        Span(_ms(seam.overlap)),
        Span(_ms(seam.gap), lacks),
        Span(seam.note or ""),
    )


def _ms(usec: int | None) -> str:
    """Milliseconds, to the tenth where there is one."""
    return _UNKNOWN if usec is None else f"{usec / 1000:.1f}".removesuffix(".0")


def seams_text(found: Totals) -> str:
    """`5 (4 exact, 1 gap), proven`: how many there are, and the worst certainty among them."""
    count = sum(number for _, number in found.kinds)
    return f"{count} ({', '.join(f'{number} {kind}' for kind, number in found.kinds)}), {found.certainty}"


def missing_text(found: Totals) -> str:
    """What is missing between the segments; empty when nothing is."""
    known = f"{_ms(found.gap)} ms in {plural(found.gaps, 'gap')}" if found.gaps else ""
    unknown = f"{plural(found.unknown, 'gap')} of unknown length" if found.unknown else ""
    return ", ".join(part for part in (known, unknown) if part)


def result_fields(result: Result, seams: Sequence[Seam]) -> list[Field]:
    """What `status` says of it."""
    fields: list[Field] = []
    whole = [part for part in result.parts if not part.is_kept]
    if len(whole) > 1:
        fields += _labelled_once("Parts", [f"{part.path} ({_part_facts(part)})" for part in whole])
    fields += _labelled_once("Kept", [_kept_text(part) for part in result.parts if part.is_kept])
    fields += _labelled_once("Notes", result.notes)
    fields += [(label, step_line(step)) for label, step in zip(_labels("Steps"), result.steps, strict=False)]
    if not seams:
        return fields
    found = totals(seams)
    fields.append(("Seams", line(seams_text(found))))
    if found.overlap_bytes:
        fields.append(("Overlap", line(f"{format_size(found.overlap_bytes)}, {_ms(found.overlap)} ms, kept once")))
    if missing := missing_text(found):
        fields.append(("Missing", line(missing, Style.BAD)))
    return fields


def upload_fields(result: Result) -> list[Field]:
    """What `status` says of one whose media are gone here: where else they are."""
    places = {upload.remote: upload.place for step in result.steps for upload in reversed(step.uploads)}
    return _labelled_once("Uploaded", list(places.values()))


_STEP_STYLES: Final = {"done": Style.GOOD, "failed": Style.BAD}


def step_line(step: Step) -> Line:
    """`thumbnail: done (/srv/a-thumb.jpg)`, `upload: done (nas:rec/alice/a.mp4)`, or why not."""
    facts = [file.path for file in step.files]
    facts += {upload.remote: upload.place for upload in reversed(step.uploads)}.values()  # the first: the result
    if step.total:
        facts.append(f"{100 * step.done // step.total}%")
    if step.retry_at is not None:
        facts.append(f"again at {format_time(step.retry_at)}")
    if step.why is not None:
        facts.append(step.why)
    about = f" ({escape(', '.join(facts))})" if facts else ""
    return (Span(f"{step.name}: "), Span(step.status, _STEP_STYLES.get(step.status, Style.BUSY)), Span(about))


def _labels(label: str) -> Iterator[str]:
    yield label
    while True:
        yield ""


def _kept_text(part: Part) -> str:
    return f"{part.path} ({kept_facts(part)})"


def kept_facts(part: Part) -> str:
    """How much it is, and of what."""
    source = "a segment" if part.segment is None else f"segment {part.segment:03d}"
    return f"{format_size(part.bytes)} of {source} that may not be in the result"


def _part_facts(part: Part) -> str:
    facts = [format_size(part.bytes)]
    if part.duration is not None:
        facts.append(format_elapsed(part.duration))
    return ", ".join(facts)


def _labelled_once(label: str, texts: Sequence[str]) -> list[Field]:
    return [(label if not index else "", line(text)) for index, text in enumerate(texts)]
