# SPDX-License-Identifier: GPL-3.0-or-later
"""streamvaultctl status: how a recording is, or the daemon, as `systemctl status` shows a unit."""

from __future__ import annotations

from streamvaultd.ctl import records
from streamvaultd.ctl.options import MAYBE_RECORDING, Command, command, option
from streamvaultd.ctl.show import render
from streamvaultd.ctl.show.text import Style, line, plural
from streamvaultd.errors import NoSuchStream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from streamvaultd.ctl.records import Recording
    from streamvaultd.ctl.session import Session
    from streamvaultd.ctl.show.text import Line

LOG_LINES = 10


@command("status")
@MAYBE_RECORDING
@option("-n", "--lines", metavar="N", least=0, help=f"Show the last N lines of its journal. [default: {LOG_LINES}]")
def status(session: Session, *, recording: str | None, lines: int | None = None) -> None:
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
    shown = render.recording_block(found, every, session.now(), _fields(session, found))
    if last := every[-render.LAST_SEGMENTS :]:
        left_out = len(every) - len(last)
        more = [line(f"{plural(left_out, 'earlier segment')} not shown.", Style.FAINT)] if left_out else []
        shown += [line(""), *more, *session.table_lines(render.segment_table(last, session.now()))]
    if log := _log(session, found, LOG_LINES if lines is None else lines):
        shown += [line(""), *log]
    session.show(shown)


def _log(session: Session, found: Recording, count: int) -> list[Line]:
    """The last lines of its journal; none for those who may not read it."""
    if count == 0:
        return []
    argv = ["journalctl", "--quiet", "--no-pager", f"--lines={count}", *render.journal_of(found)]
    return [line(text) for text in session.read(argv)]


def _fields(session: Session, found: Recording) -> list[tuple[str, Line]]:
    """What the broadcast is called, and what came of the recording."""
    return [*_title_fields(session, found), *_result_fields(session, found)]


def _title_fields(session: Session, found: Recording) -> list[tuple[str, Line]]:
    try:
        stream = records.object_of(session.call("GetStream", stream=found.stream), "stream")
    except NoSuchStream:
        return []
    named = [("Title", stream.get("title")), ("Category", stream.get("category"))]
    return [(label, line(str(text))) for label, text in named if text]


def _result_fields(session: Session, found: Recording) -> list[tuple[str, Line]]:
    """What came of a recording that is joined."""
    is_gone = found.path is None and found.state in ("completed", "stopped")
    if found.path is None and not is_gone:
        return []
    from streamvaultd.ctl.show import result

    which = str(found.id)
    if is_gone:
        return result.upload_fields(result.parse_result(session.call("ListParts", recording=which)))
    answers = session.seam_answers(which)
    made = result.parse_result(session.call("ListParts", recording=which))
    return result.result_fields(made, [result.parse_seam(item) for item in answers])


def _daemon_status(session: Session) -> None:
    answer = session.call("GetStatus")
    if session.show_json(answer):
        return
    running = [records.parse_recording(item) for item in session.pages("List", "recordings")]
    lines = render.daemon_block(records.parse_status(answer), session.now())
    if running:
        lines += [line(""), *session.table_lines(render.recording_table(running, session.now()))]
    session.show(lines)


COMMANDS: dict[str, Command] = {"status": status}
