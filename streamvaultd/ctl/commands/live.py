# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of streamvaultctl that show what happens: monitor, logs."""

from __future__ import annotations

from contextlib import closing

from streamvaultd.ctl import follow as following
from streamvaultd.ctl import records
from streamvaultd.ctl.options import MAYBE_RECORDING, RECORDING, Command, command, option
from streamvaultd.ctl.records import Recording
from streamvaultd.ctl.session import Session, recording_of
from streamvaultd.ctl.show import render
from streamvaultd.ctl.show.text import Line
from streamvaultd.errors import ConnectionLost, DaemonNotRunning


@command("monitor")
@MAYBE_RECORDING
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


@command("logs")
@RECORDING
@option("-f", "--follow", is_flag=True, help="Go on with new lines as they come.")
@option("-n", "--lines", least=0, metavar="N", help="Show the last N lines only.")
def logs(session: Session, *, recording: str, follow: bool, lines: int | None) -> None:
    """Show the journal of a recording.

    Runs journalctl, which shows streamlink's own lines, too.
    """
    argv = ["journalctl", *_matches(session, recording)]
    argv += ["--follow"] if follow else []
    argv += [f"--lines={lines}"] if lines is not None else []
    argv += ["--no-pager"] if session.no_pager else []
    argv += ["--quiet"] if session.quiet else []
    argv += {"short": ["--output=json"], "pretty": ["--output=json-pretty"]}.get(session.json, [])
    session.execute(argv)


def _matches(session: Session, recording: str) -> list[str]:
    try:
        return render.journal_of(session.get(recording))
    except (DaemonNotRunning, ConnectionLost):
        # the journal is there without the daemon, and is wanted most then
        if recording.isascii() and recording.isdecimal():
            return [f"STREAMVAULT_RECORDING={int(recording)}"]
        raise


COMMANDS: dict[str, Command] = {"monitor": monitor, "logs": logs}
