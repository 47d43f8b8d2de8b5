# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of streamvaultctl that look: list, status, segments, seams, why, monitor, logs, streamlink."""

from __future__ import annotations

from contextlib import closing

import click

from streamvaultd.ctl import explain, records, render, result
from streamvaultd.ctl import follow as following
from streamvaultd.ctl.options import Group, common_options
from streamvaultd.ctl.records import Recording
from streamvaultd.ctl.session import Session, recording_of
from streamvaultd.ctl.table import Table
from streamvaultd.ctl.text import Line, Style, line, plural
from streamvaultd.errors import ConnectionLost, DaemonNotRunning

RECORDING = click.argument("recording", metavar="NAME|ID")
MAYBE_RECORDING = click.argument("recording", metavar="[NAME|ID]", required=False)


@click.command("list")
@click.argument("streamer", metavar="[STREAMER]", required=False)
@click.option("-a", "--all", "show_all", is_flag=True, help="Show recordings that have ended, too.")
@common_options
@click.pass_obj
def list_(session: Session, *, streamer: str | None = None, show_all: bool = False) -> None:
    """List recordings, newest first.

    Those that are running, of all streamers or of one; with --all those that have ended, too.
    """
    answer = session.call("List", streamer=streamer, all=show_all or None)
    found = records.objects(answer, "recordings")
    if session.show_json(found):
        return
    table = render.recording_table([records.parse_recording(item) for item in found], session.now())
    footer = f"{plural(len(found), 'recording')} listed."
    if not show_all:
        footer += " Pass --all to see those that have ended, too."
    _show_table(session, table, footer)


@click.command()
@RECORDING
@common_options
@click.pass_obj
def segments(session: Session, *, recording: str) -> None:
    """List the segments of a recording."""
    found = records.objects(session.call("ListSegments", recording=recording), "segments")
    if session.show_json(found):
        return
    table = render.segment_table([records.parse_segment(item) for item in found], session.now())
    _show_table(session, table, f"{plural(len(found), 'segment')} listed.")


@click.command()
@RECORDING
@common_options
@click.pass_obj
def seams(session: Session, *, recording: str) -> None:
    """List the seams of a recording.

    Where its segments meet, once they are joined: what both held, what is missing between them, and how sure that is.
    """
    found = records.objects(session.call("ListSeams", recording=recording), "seams")
    if session.show_json(found):
        return
    every = [result.parse_seam(item) for item in found]
    footer = f"{plural(len(every), 'seam')} listed."
    if every and (missing := result.missing_text(result.totals(every))):
        footer += f" Missing: {missing}."
    _show_table(session, result.seam_table(every), footer)


@click.command()
@RECORDING
@click.argument("segment", metavar="[SEGMENT]", type=click.IntRange(min=1), required=False)
@common_options
@click.pass_obj
def why(session: Session, *, recording: str, segment: int | None) -> None:
    """Show why segments ended.

    Of all segments of a recording, or of one: the cause, what each witness told, and what the daemon did next.
    """
    found = session.get(recording)
    answers = records.objects(session.call("Why", recording=str(found.id), segment=segment), "ends")
    if session.show_json(answers):
        return
    lines = [explain.recording_line(found)] if segment is None else []
    for end in map(records.parse_end, answers):
        lines += [*([line("")] if lines else []), *explain.end_block(found, end, session.now())]
    session.show(lines)


def _show_table(session: Session, table: Table, footer: str) -> None:
    lines = session.table_lines(table) if table.rows else []
    if not session.no_legend and not session.quiet:
        lines += [*([line("")] if lines else []), line(footer)]
    session.show(lines)


@click.command()
@MAYBE_RECORDING
@common_options
@click.pass_obj
def status(session: Session, *, recording: str | None) -> None:
    """Show how a recording is, or the daemon.

    Without a name: the daemon and what it records. With a streamer's name: its running or else latest recording.
    """
    if recording is None:
        _daemon_status(session)
        return
    found = session.get(recording)
    if session.show_json(found.answer):
        return
    every = session.segments(found.id)
    lines = render.recording_block(found, every, session.now(), _result_fields(session, found))
    if last := every[-render.LAST_SEGMENTS :]:
        left_out = len(every) - len(last)
        more = [line(f"{plural(left_out, 'earlier segment')} not shown.", Style.FAINT)] if left_out else []
        lines += [line(""), *more, *session.table_lines(render.segment_table(last, session.now()))]
    session.show(lines)


def _result_fields(session: Session, found: Recording) -> list[tuple[str, Line]]:
    """What came of a recording that is joined."""
    if found.path is None:
        return []
    which = str(found.id)
    answers = records.objects(session.call("ListSeams", recording=which), "seams")
    made = result.parse_result(session.call("ListParts", recording=which))
    return result.result_fields(made, [result.parse_seam(item) for item in answers])


def _daemon_status(session: Session) -> None:
    answer = session.call("GetStatus")
    if session.show_json(answer):
        return
    running = [records.parse_recording(item) for item in records.objects(session.call("List"), "recordings")]
    lines = render.daemon_block(records.parse_status(answer), session.now())
    if running:
        lines += [line(""), *session.table_lines(render.recording_table(running, session.now()))]
    session.show(lines)


@click.command()
@MAYBE_RECORDING
@common_options
@click.pass_obj
def monitor(session: Session, *, recording: str | None) -> None:
    """Print what happens, as it happens.

    First how the running recordings are, or the given one.
    """
    known: dict[int, Recording] = {}
    with closing(following.answers(session, recording)) as answers:
        for answer in answers:
            if not session.show_json(answer):
                session.screen.show(_news(answer, known, session.now()))


def _news(answer: records.Answer, known: dict[int, Recording], now: int) -> list[Line]:
    """What an answer says that is new; `known` are the recordings as told so far."""
    lines = []
    if answer.get("recording") is not None:
        state = recording_of(answer)
        before = known.get(state.id)
        known[state.id] = state
        if before is None or before.state != state.state:
            lines.append(render.state_line(state, now, is_new=before is not None))
    if answer.get("event") is not None:
        event = records.parse_event(records.object_of(answer, "event"))
        about = known.get(event.recording) if event.recording is not None else None
        lines.append(render.event_line(event, about.streamer if about is not None else None))
    return lines


@click.command()
@RECORDING
@click.option("-f", "--follow", is_flag=True, help="Go on with new lines as they come.")
@click.option("-n", "--lines", type=click.IntRange(min=0), metavar="N", help="Show the last N lines only.")
@common_options
@click.pass_obj
def logs(session: Session, *, recording: str, follow: bool, lines: int | None) -> None:
    """Show the journal of a recording.

    Runs journalctl, which shows streamlink's own lines, too.
    """
    argv = ["journalctl", f"STREAMVAULT_RECORDING={_number(session, recording)}"]
    argv += ["--follow"] if follow else []
    argv += [f"--lines={lines}"] if lines is not None else []
    argv += ["--no-pager"] if session.no_pager else []
    argv += ["--quiet"] if session.quiet else []
    argv += {"short": ["--output=json"], "pretty": ["--output=json-pretty"]}.get(session.json, [])
    session.execute(argv)


def _number(session: Session, recording: str) -> int:
    try:
        return session.get(recording).id
    except (DaemonNotRunning, ConnectionLost):
        # the journal is there without the daemon, and is wanted most then
        if recording.isascii() and recording.isdecimal():
            return int(recording)
        raise


@click.group(cls=Group, no_args_is_help=False)
@common_options
def streamlink() -> None:
    """Manage the daemon's own streamlink.

    It is used instead of the system's. Recordings that run keep the one they were started with.
    """


@streamlink.command("install")
@click.argument("version", metavar="[VERSION]", required=False)
@common_options
@click.pass_obj
def streamlink_install(session: Session, *, version: str | None) -> None:
    """Install streamlink, the newest or the given version."""
    _manage_streamlink(session, "install", version)


@streamlink.command("update")
@common_options
@click.pass_obj
def streamlink_update(session: Session) -> None:
    """Update streamlink to the newest version."""
    _manage_streamlink(session, "update", None)


@streamlink.command("status")
@common_options
@click.pass_obj
def streamlink_status(session: Session) -> None:
    """Show which streamlink is used."""
    _manage_streamlink(session, "status", None)


def _manage_streamlink(session: Session, verb: str, version: str | None) -> None:
    answer = next(iter(session.more("ManageStreamlink", verb=verb, version=version)))  # minutes: it downloads
    if not session.show_json(answer):
        session.show(render.streamlink_block(records.parse_streamlink(answer)))
