# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of streamvaultctl that list: list, segments, seams, why."""

from __future__ import annotations

from streamvaultd.ctl import records
from streamvaultd.ctl.options import RECORDING, Command, argument, command, option
from streamvaultd.ctl.show import render
from streamvaultd.ctl.show.text import line, plural

TYPE_CHECKING = False
if TYPE_CHECKING:
    from streamvaultd.ctl.session import Session
    from streamvaultd.ctl.show.table import Table

PAGE = 1000
STATUSES = ("recording", "finalizing", "completed", "stopped", "failed")


FIRST_STEPS = (
    "No streamer is watched yet: 'streamvaultctl add URL' records every broadcast of a streamer, "
    "'streamvaultctl record URL' one now."
)


@command("list")
@argument("streamer", "[STREAMER]", required=False, complete="recording")
@option("-a", "--all", name="show_all", is_flag=True, help="Show recordings that have ended, too.")
@option("-l", "--long", is_flag=True, help="Show title and category of the broadcast, too.")
@option("--status", choices=STATUSES, help="Show only those with this status.")
@option("--kept", is_flag=True, help="Show only those that are marked to be kept.")
@option("--since", metavar="TIME", help="Show only those that were started since then: 2h, yesterday, 2026-11-23.")
@option("--until", metavar="TIME", help="Show only those that were started before then.")
@option("-n", "--limit", metavar="N", least=1, help="Show the newest N only.")
def list_(
    session: Session,
    *,
    streamer: str | None = None,
    show_all: bool = False,
    long: bool = False,
    status: str | None = None,
    kept: bool = False,
    since: str | None = None,
    until: str | None = None,
    limit: int | None = None,
) -> None:
    """List recordings, newest first.

    Those that are running; those of a streamer, with a status or a mark, or of a time, whether they run or not; with
    --all all.
    """
    asked: dict[str, object] = {"streamer": streamer, "all": show_all or None, "status": status, "kept": kept or None}
    if since is not None or until is not None:
        from streamvaultd.ctl.when import span_of

        asked |= span_of(since, until, session.now())
    found = session.pages("List", "recordings", limit=limit, **asked)
    if session.show_json(found):
        return
    every = [records.parse_recording(item) for item in found]
    titles = _titles(session, {each.stream for each in every}, streamer) if long else None
    table = render.recording_table(every, session.now(), titles)
    footer = f"{plural(len(found), 'recording')} listed."
    is_plain = all(value is None for value in asked.values())
    footer += " Pass --all to see those that have ended, too." if is_plain else ""
    is_first = is_plain and not found and not _is_anybody_watched(session)
    show_table(session, table, footer, *([FIRST_STEPS] if is_first else []))


def _titles(session: Session, streams: set[int], streamer: str | None) -> dict[int, tuple[str, str]]:
    """Title and category by stream, of those that are known to have been one."""
    found: dict[int, tuple[str, str]] = {}
    place = None
    while streams - found.keys():
        answer = session.call("ListStreams", streamer=streamer, limit=PAGE, before=place)
        for item in records.objects(answer, "streams"):
            top = records.Fields(item, "stream")
            found[top.need("id", int)] = (top.text("title") or "", top.text("category") or "")
        place = answer.get("next")
        if place is None:
            break
    return found


def _is_anybody_watched(session: Session) -> bool:
    return bool(session.call("ListStreamers", limit=1).get("streamers"))


@command("segments")
@RECORDING
def segments(session: Session, *, recording: str) -> None:
    """List the segments of a recording."""
    found = session.segment_answers(recording)
    if session.show_json(found):
        return
    table = render.segment_table([records.parse_segment(item) for item in found], session.now())
    show_table(session, table, f"{plural(len(found), 'segment')} listed.")


@command("seams")
@RECORDING
def seams(session: Session, *, recording: str) -> None:
    """List the seams of a recording.

    Where its segments meet, once they are joined: what both held, what is missing between them, and how sure that is.
    """
    from streamvaultd.ctl.show import result

    found = session.seam_answers(recording)
    if session.show_json(found):
        return
    every = [result.parse_seam(item) for item in found]
    footer = f"{plural(len(every), 'seam')} listed."
    if every and (missing := result.missing_text(result.totals(every))):
        footer += f" Missing: {missing}."
    show_table(session, result.seam_table(every), footer)


@command("why")
@RECORDING
@argument("segment", "[SEGMENT]", required=False, least=1)
def why(session: Session, *, recording: str, segment: int | None) -> None:
    """Show why segments ended.

    Of all segments of a recording, or of one: the cause, what each witness told, and what the daemon did next.
    """
    from streamvaultd.ctl.show import explain

    found = session.get(recording)
    answers = records.objects(session.call("Why", recording=str(found.id), segment=segment), "ends")
    if session.show_json(answers):
        return
    lines = [explain.recording_line(found, session.now())] if segment is None else []
    for end in map(records.parse_end, answers):
        lines += [*([line("")] if lines else []), *explain.end_block(found, end, session.now())]
    session.show(lines)


def show_table(session: Session, table: Table, *footer: str) -> None:
    """A table, and below it what it comes to."""
    lines = session.table_lines(table) if table.rows else []
    if not session.no_legend and not session.quiet:
        lines += [*([line("")] if lines else []), *map(line, footer)]
    session.show(lines)


COMMANDS: dict[str, Command] = {"list": list_, "segments": segments, "seams": seams, "why": why}
