# SPDX-License-Identifier: GPL-3.0-or-later
"""The join job: makes one file of a recording's segments, proves it, and reports.

Run as `python3 -m streamvaultd.jobs.join` in a scope of its own. Reads one JSON object from stdin:

    {"recording": 348, "segments": ["/…/segment_001.ts", …], "output": "/…/name without suffix", "report": "/…/report"}

With "mp4": true, transport streams are made MP4s in the end (remux.py), unless "tries" is more than 1; "memory" is
what the job's scope may have, in bytes.
With "least": N, less than N ms of media are counted by every timestamp, or not told if anything is not understood, for
somebody will decide by that.
With "times": [[from, until] or null, …], when each segment was received (ms of the realtime clock), gaps that no clock
of the media tells are estimated.
With "titles": [[ms, text], …], what the broadcast was called from when on, an MP4 gets chapters; "dates": [ms or null,
…] says when the first media of each segment were broadcast. With "timed": true the report tells when.
With "previous": "/…/file", the result of the broadcast before, media at the start that are its very end are left out.
With "progress": "/…/file", a line of JSON is put to the end of that file, if it is there, for each percent.

Writes `output` with the suffix of what it holds (.ts, .mp4), and `output`.part2 … where the source changed what one
file cannot hold; then the report: {"ok": true, …} or {"ok": false, "error": …}; with
"forGood": true if all segments were read, and nothing can be made of them.
Exit status: 0 joined, 1 failed (the report says why), 2 no usable input.

It may be killed at any point and started again: it then makes the same file, or finds the one it made. It never
renames or removes a segment, changes one only behind its end (writer.py), and never replaces a file that it did not
make.
docs/design/003-join.md
"""

from __future__ import annotations

import json
import os
import re
import stat
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamvaultd.errors import JoinFailed, VaultError
from streamvaultd.jobs.join import chaptering, kept, output, remux
from streamvaultd.jobs.join import proof as verify
from streamvaultd.jobs.join.describe import OpenSegment, counted_ms, describe_seam, one_each, remarks, unused
from streamvaultd.jobs.join.passes import Progress
from streamvaultd.jobs.join.spec import RESERVE, Spec, parse_spec
from streamvaultd.jobs.join.writer import APPEND_MIN, Writer, align, size_of_segment, written_at
from streamvaultd.media import ts
from streamvaultd.media.chapters import Chapter
from streamvaultd.media.container import FileFormat
from streamvaultd.media.lead import Lead, find_lead, without_lead
from streamvaultd.media.left_out import LeftOut, left_out
from streamvaultd.media.plan import Plan, foreign_bytes, plan_join
from streamvaultd.media.seam import SeamKind
from streamvaultd.media.source import FileSource

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


_NUMBER = re.compile(r"(\d+)$")


class JoinProgram:
    """One run of the job. `reached` is called after each lasting effect, `progress` while bytes move.

    `progress` gets the bytes of the result that are done, and all of them. `reserve` is how many bytes have to stay
    free beside a copy; a first segment of `append_min` bytes is appended to.
    """

    def __init__(
        self,
        spec: Spec,
        *,
        reached: Callable[[str], None] = lambda _: None,
        progress: Callable[[int, int], None] = lambda *_: None,
        reserve: int = RESERVE,
        append_min: int = APPEND_MIN,
    ) -> None:
        self._spec = spec
        self._append_min = append_min
        self._reserve = reserve
        self._reached = reached
        self._progress = progress
        self._done = self._total = 0
        self._notes: list[str] = []
        self._lead: Lead | None = None
        self._lost: list[LeftOut] = []
        self._chapters: dict[Path, tuple[Chapter, ...]] = {}
        self._is_hopeless = self._is_partial = False

    def run(self) -> bool:
        """Joins and writes the report; True when there is a result. Raises OSError if no report can be written."""
        try:
            report = {"ok": True, **self._join()}
        except VaultError as error:
            report = {"ok": False, "error": str(error), "notes": self._notes, "forGood": self._is_hopeless}
        except OSError as error:
            why = str(self._fail(error.strerror or str(error)))
            report = {"ok": False, "error": why, "notes": self._notes, "room": output.room_missing(error)}
        output.write_atomically(self._spec.report, json.dumps(report, indent=1).encode() + b"\n")
        self._reached("report")
        return bool(report["ok"])

    def _fail(self, why: str) -> JoinFailed:
        return JoinFailed(recording=self._spec.recording, why=why)

    def _fail_without_media(self) -> JoinFailed:
        """For good, if all segments are there; one that is not may come back, say with its file system."""
        self._is_hopeless = all(path.exists() for path in self._spec.segments)
        return self._fail("no segment holds any media")

    def _join(self) -> dict[str, Any]:
        with ExitStack() as stack:
            segments = [
                found for at, path in enumerate(self._spec.segments, 1) if (found := self._open(stack, at, path))
            ]
            if not segments:
                raise self._fail_without_media()
            plans = self._plan(segments)
            self._total = sum(plan.size * (1 + self._is_for_mp4(plan)) for plan in plans)
            parts = [self._part_of(*each, segments) for each in enumerate(plans, 1)]
            for plan, part in zip(plans, parts, strict=True):
                if self._is_for_mp4(plan):
                    self._remux(part)
            first = parts[0]
            parts += [self._kept(*each, segments) for each in kept.by_file(self._lost)]
            seams = [seam for part in parts for seam in part.pop("seams", ())]
            return first | {
                "bytes": sum(part["bytes"] for part in parts),
                "parts": parts,
                "seams": one_each(seams),
                "notes": self._notes,
                "lead": None if self._lead is None else {"bytes": self._lead.size, "ms": self._lead.ms},
            }

    def _part_of(self, number: int, plan: Plan, segments: list[OpenSegment]) -> dict[str, Any]:
        """Makes one part of the result, and describes it."""
        final = self._final("" if number == 1 else f".part{number}", plan)
        writer = self._writer(segments)
        if final.is_symlink() or final.exists():
            plan = self._accept(plan, writer, final)
        else:
            plan = self._make(plan, writer, final)
        with output.opened(final, os.O_RDONLY) as fd:
            return self._describe(plan, segments, final, FileSource.of(fd))

    def _kept(self, index: int, lost: list[LeftOut], segments: list[OpenSegment]) -> dict[str, Any]:
        """Makes a file of what of a segment is not in the result, and describes it."""
        segment, writer = segments[index], self._writer(segments)
        plan = kept.plan_kept(index, segment, lost)
        for suffix in kept.suffixes(segment):
            final = self._final(suffix, plan)
            if (made := self._made_kept(plan, writer, final)) is not None:
                break
            self._notes.append(f"{final.name} is something else, and is left alone")
        else:
            raise self._fail(f"all names for what of {segment.path.name} is not in the result are taken")
        self._notes.append(f"{final.name} has what of {segment.path.name} is not in the result: {lost[0].why}")
        return kept.describe_kept(final, segment, made.size)

    def _made_kept(self, plan: Plan, writer: Writer, final: Path) -> Plan | None:
        """None if there is another file of that name: it is neither replaced nor in the way."""
        try:
            if not (final.is_symlink() or final.exists()):
                return self._make(plan, writer, final)
        except FileExistsError:  # it came meanwhile
            return None
        try:
            return self._accepted(plan, writer, final)
        except OSError:
            return None

    def _final(self, suffix: str, plan: Plan) -> Path:
        name = self._spec.output.name + suffix
        return self._spec.output.with_name(name + plan.container.value)

    def _writer(self, segments: list[OpenSegment]) -> Writer:
        return Writer(
            paths=[segment.path for segment in segments],
            sources=[segment.source for segment in segments],
            reserve=self._reserve,
            append_min=self._append_min,
            reached=self._reached,
            moved=self._count,
        )

    # --- reading ----------------------------------------------------------------------------------------------------

    def _open(self, stack: ExitStack, position: int, path: Path) -> OpenSegment | None:
        try:
            fd = stack.enter_context(output.opened(path, os.O_RDONLY | os.O_NONBLOCK))
        except FileNotFoundError:
            self._notes.append(f"{path.name} is not there")
            self._is_partial = True
            return None
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise self._fail(f"{path} is not a regular file")
        source = FileSource(fd, size_of_segment(path, found))
        if source.size < ts.PACKET:
            self._notes.append(f"{path.name} holds no media ({source.size} bytes)")
            return None
        number = _NUMBER.search(path.stem)
        received = self._spec.times[position - 1] if self._spec.times else None
        until = min(received[1], written_at(path, found)) if received else None
        dated = self._spec.dates[position - 1] if self._spec.dates else None
        return OpenSegment(int(number[1]) if number else position, path, source, received, until, dated)

    def _plan(self, segments: list[OpenSegment]) -> tuple[Plan, ...]:
        plans = plan_join([segment.source for segment in segments], [segment.until for segment in segments])
        if not any(plan.size for plan in plans):
            raise self._fail_without_media()
        for segment in unused(segments, plans):
            self._notes.append(f"{segment.path.name} holds no whole fragment ({segment.source.size} bytes)")
        self._lost = left_out([segment.source for segment in segments], plans)
        for segment in segments:
            if foreign := foreign_bytes(segment.source):
                self._notes.append(f"{foreign} bytes in {segment.path.name} are no media, and left out")
        plans = self._cut_lead([segment.source for segment in segments], tuple(plan for plan in plans if plan.size))
        for number, plan in enumerate(plans, 1):
            for planned in plan.seams:
                if planned.seam.kind is SeamKind.BREAK:
                    name = segments[planned.newer].path.name
                    self._notes.append(f"part {number} begins in {name}: {planned.seam.note}")
            if plan.torn:
                self._notes.append(f"{plan.torn} bytes at the end of part {number} are torn and left out")
        return tuple(plan for plan in plans if plan.size)

    def _cut_lead(self, sources: list[FileSource], plans: tuple[Plan, ...]) -> tuple[Plan, ...]:
        """The parts without what is the end of the broadcast before."""
        previous = self._spec.previous
        if previous is None:
            return plans
        try:
            with output.opened(previous, os.O_RDONLY | os.O_NONBLOCK) as fd:
                is_file = stat.S_ISREG(os.fstat(fd).st_mode)
                lead = find_lead(sources, plans[0], FileSource.of(fd)) if is_file else None
        except OSError as error:
            self._notes.append(f"{previous.name}, which may hold the start of this, cannot be read: {error.strerror}")
            return plans
        if lead is None:
            return plans
        if lead.whole and len(plans) == 1:
            self._notes.append(f"all of it is in {previous.name}, too: it is kept here as well")
            return plans
        if why := self._why_uncut(plans[0], sources[0].fd):
            self._notes.append(f"it begins with the end of {previous.name}, which stays in it: {why}")
            return plans
        self._lead = lead
        seconds = "start" if lead.ms is None else f"first {lead.ms / 1000:.1f} s"
        self._notes.append(f"the {seconds} of what was received is left out: it is the end of {previous.name}")
        return plans[1:] if lead.whole else (without_lead(plans[0], lead), *plans[1:])

    def _why_uncut(self, plan: Plan, fd: int) -> str | None:
        """Why the first part is to begin with the end of the broadcast before all the same."""
        final = self._final("", plan)
        disk = os.fstatvfs(fd)
        if final.exists() and final.stat().st_size in (plan.size, align(plan, disk.f_bsize).size):
            return "an earlier try has made it so"
        is_costly = plan.size >= self._append_min  # nothing can be appended to a file that begins elsewhere
        is_full = disk.f_bavail * disk.f_frsize < plan.size + self._reserve
        return "there is no room for a copy" if is_costly and is_full else None

    # --- writing ----------------------------------------------------------------------------------------------------

    def _accept(self, plan: Plan, writer: Writer, final: Path) -> Plan:
        """Takes a file of the result's name for the result if it is: an earlier run was stopped after naming it."""
        found = self._accepted(plan, writer, final)
        if found is None:
            raise self._fail(f"{final} is there already and is not this recording")
        return found

    def _accepted(self, plan: Plan, writer: Writer, final: Path) -> Plan | None:
        with output.opened(final, os.O_RDONLY | os.O_NONBLOCK) as fd:
            candidates = (plan, align(plan, os.fstatvfs(fd).f_bsize))
            found = next(
                (
                    each
                    for each in candidates
                    if self._fault(each, writer, fd, verify.own_range(each, writer.sources, fd)) is None
                ),
                None,
            )
        if found is None:
            return None
        output.remove_stale(self._part(final))
        output.sync_folder(final.parent)
        self._reached("accepted")
        return found

    def _make(self, plan: Plan, writer: Writer, final: Path) -> Plan:
        if not final.parent.exists():
            final.parent.mkdir(mode=0o750)
            output.sync_folder(final.parent.parent)
        part = self._part(final)
        writer.undo(part)
        self._reached("cleared")
        try:
            written = writer.write(plan, part)
            self._prove(written, writer, part)
            output.publish(part, final)
        except (VaultError, OSError):
            # on a full disk its space is needed by the captures that run
            writer.undo(part)
            raise
        self._reached("published")
        return written

    def _prove(self, plan: Plan, writer: Writer, part: Path) -> None:
        """Puts the part file on disk and looks at what the writer has not proven."""
        with output.opened(part, os.O_RDONLY) as fd:
            os.fsync(fd)
            if fault := self._fault(plan, writer, fd, plan.ranges()):
                raise self._fail(f"the joined file is not what was planned: {fault}")
        self._reached("verified")

    def _part(self, final: Path) -> Path:
        return final.with_name(f".{final.name}.part")

    def _count(self, size: int) -> None:
        """So many more bytes of the result are where they belong; what was moved once may be looked at again."""
        self._done = min(self._done + size, self._total)
        self._progress(self._done, self._total)

    def _fault(self, plan: Plan, writer: Writer, fd: int, known: Sequence[tuple[int, int]]) -> str | None:
        """Why an open file is not what was planned, `known` ranges apart; None when it is."""
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return "it is not a regular file"
        return verify.find_fault(plan, writer.sources, FileSource.of(fd), self._count, known)

    # --- post-processing --------------------------------------------------------------------------------------------

    def _is_for_mp4(self, plan: Plan) -> bool:
        return self._spec.mp4 and plan.container is FileFormat.TS

    def _remux(self, part: dict[str, Any]) -> None:
        """Makes an MP4 of a part, and says so in its description; or a note says why not."""
        made, left = Path(part["path"]), part["bytes"]

        def count(size: int) -> None:
            nonlocal left
            left -= size
            self._count(size)

        try:
            found = remux.to_mp4(
                made,
                part["durationMs"],
                reserve=self._reserve,
                memory=self._spec.memory,
                moved=count,
                has_failed=self._spec.tries > 1,
                chapters=self._chapters.get(made, ()),
            )
        except (remux.KeptAsReceived, OSError) as error:
            self._notes.append(f"{made.name} stays a transport stream: {error}")
        else:
            part |= {"path": str(found), "bytes": found.stat().st_size, "packets": None}
        self._count(left)  # also what is given up is done
        self._reached("remuxed")

    # --- reporting --------------------------------------------------------------------------------------------------

    def _describe(self, plan: Plan, segments: list[OpenSegment], final: Path, result: FileSource) -> dict[str, Any]:
        titles = self._spec.titles if self._spec.tries == 1 else ()  # a later try makes no MP4
        found = chaptering.timed(plan, segments, result, titles, is_timed=self._spec.timed)
        duration, self._chapters[final], on_air = found
        if duration is not None and duration < self._spec.least:
            duration = None if self._is_partial else counted_ms(plan, result)
        self._notes += remarks(plan, final, result)
        return {
            "path": str(final),
            "bytes": result.size,
            "seams": [describe_seam(planned, segments) for planned in plan.seams],
            "durationMs": duration,
            "onAir": [(each.at, each.began, each.length) for each in on_air],
            "packets": result.size // ts.PACKET if plan.container is FileFormat.TS else None,
        }


def main() -> int:
    """The process's life; returns its exit status."""
    try:
        spec = parse_spec(sys.stdin.read())
    except VaultError as error:
        print(error, file=sys.stderr)
        return 2
    try:
        return 0 if JoinProgram(spec, progress=Progress(spec.progress), reserve=spec.reserve).run() else 1
    except OSError as error:
        print(f"cannot write the report of recording {spec.recording}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
