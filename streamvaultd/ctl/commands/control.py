# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of streamvaultctl that change something: record, stop, wait, rotate, retry, keep, unkeep."""

from __future__ import annotations

import os
from contextlib import closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING

from streamvaultd.base.units import format_size, parse_span
from streamvaultd.ctl import follow
from streamvaultd.ctl.index import PROGRAM
from streamvaultd.ctl.options import RECORDING, Command, argument, command, option
from streamvaultd.ctl.outcome import ExitCode, Failed, Usage
from streamvaultd.ctl.session import Session, given, recording_of
from streamvaultd.ctl.show import render
from streamvaultd.ctl.show.text import format_elapsed, plural
from streamvaultd.errors import InvalidDuration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from streamvaultd.ctl.records import Answer, Recording

    Way = Callable[[Session, Recording, follow.Request, follow.Tell], Recording]


@command("record")
@argument("url", "URL")
@option("--name", metavar="NAME", help="Name of the streamer. [default: taken from the URL]")
@option("--quality", metavar="QUALITY", help="Qualities by streamlink's names, best first: 1080p60,720p,best.")
@option("--directory", metavar="PATH", complete="file", help="Folder in which the streamer's folder is made.")
@option("--duration", metavar="TIME", help="Stop after that much media: 90min, 2h 30min.")
@option("--wait", is_flag=True, help="Wait until the recording has ended; print the path of its file.")
@option("--no-block", is_flag=True, help="Do not wait until media arrive.")
def record(
    session: Session,
    *,
    url: str,
    name: str | None,
    quality: str | None,
    directory: str | None,
    duration: str | None,
    wait: bool,
    no_block: bool,
) -> int:
    """Record a live stream.

    Returns when media arrive, and prints the recording's number.
    """
    if wait and no_block:
        raise Usage("--wait and --no-block exclude each other")
    parameters = given({
        "url": url,
        "name": name,
        "quality": quality,
        "directory": None if directory is None else os.path.abspath(directory),  # noqa: PTH100 - no symlinks resolved
        "durationUSec": None if duration is None else _parse_duration(duration),
    })  # fmt: skip
    if no_block:
        answer = session.call("Record", until="accepted", **parameters)
        session.warn(answer)
        state = recording_of(answer)
        session.note(render.progress(state))
        return _report_start(session, state)
    return _record_and_wait(session, {**parameters, "until": "end" if wait else "recording"})


def _record_and_wait(session: Session, parameters: dict[str, object]) -> int:
    to_end = parameters["until"] == "end"
    state: Recording | None = None
    try:
        with _telling(session) as tell:
            states = follow.record(session, parameters, lambda state: state.has_media and not to_end)
            with closing(states):
                for state in states:
                    tell(state)
    except KeyboardInterrupt:
        if state is None:
            told = f"interrupted before the daemon answered: '{PROGRAM} list' shows whether it is recorded."
        else:
            told = _interruption(state, "goes on")
        session.note(told)
        return ExitCode.INTERRUPTED
    if state is None:
        raise Failed("cannot tell whether it is recorded: the daemon gave no answer")
    return _report_end(session, state) if to_end else _report_start(session, state)


def _parse_duration(text: str) -> int:
    try:
        usec = parse_span(text)
    except ValueError as exc:
        raise InvalidDuration(value=text, why=str(exc)) from exc
    if usec == 0:
        raise InvalidDuration(value=text, why="it is zero")
    return usec


@command("stop")
@RECORDING
@option("--wait", is_flag=True, help="Wait until all is joined; print the path of the file.")
def stop(session: Session, *, recording: str, wait: bool) -> int:
    """Stop a recording.

    What was received is joined into one file. One whose join failed is not joined any more, and keeps its segments.
    """
    found = session.get(recording)
    if found.is_final or not wait:
        return _report_asked(session, _done(session, found, partial(follow.ask, "Stop"), "is being stopped"))
    return _report_waited(session, _done(session, found, follow.stop, "is being stopped"))


@command("wait")
@RECORDING
def wait(session: Session, *, recording: str) -> int:
    """Wait until a recording is over and joined.

    Prints the path of its file. It stops nothing: the source ends the broadcast, or somebody else the recording.
    """
    return _report_waited(session, _done(session, session.get(recording), follow.wait, "goes on"))


@command("rotate")
@RECORDING
@option("--wait", is_flag=True, help="Wait until the new segment has taken over.")
def rotate(session: Session, *, recording: str, wait: bool) -> int:
    """Start the next segment of a recording.

    The present one ends when the next one has media.
    """
    found = session.get(recording)
    way = follow.begin_rotation if found.is_final or not wait else follow.rotate
    return _report_asked(session, _done(session, found, way, "is being rotated"))


@command("retry")
@RECORDING
@option("--wait", is_flag=True, help="Wait until it is joined; print the path of the file.")
def retry(session: Session, *, recording: str, wait: bool) -> int:
    """Try again now what failed or waits.

    A recording that failed and kept its segments is joined; one that waits for its next try, its next join, its source
    or for room on its disk does not wait any longer.
    """
    found = session.get(recording)
    if not wait:
        return _report_asked(session, _done(session, found, partial(follow.ask, "Retry"), "is being tried again"))
    return _report_waited(session, _done(session, found, follow.retry, "is being tried again"))


@command("keep")
@RECORDING
def keep(session: Session, *, recording: str) -> int:
    """Mark a recording to be kept.

    Neither [retention] nor min_duration removes its media, and 'prune' does so with --force alone.
    """
    return _report_marked(session, session.call("Keep", recording=recording), "is marked to be kept")


@command("unkeep")
@RECORDING
def unkeep(session: Session, *, recording: str) -> int:
    """Remove the mark of 'keep' from a recording.

    The limits of [retention] count it again; they remove nothing within the next ten minutes.
    """
    return _report_marked(session, session.call("Unkeep", recording=recording), "is not marked to be kept")


def _report_marked(session: Session, answer: Answer, what: str) -> int:
    state = recording_of(answer)
    session.note(f"{render.name_of(state)} {what}.")
    session.json_only(state.answer)
    return ExitCode.DONE


@contextmanager
def _telling(session: Session) -> Iterator[Callable[[Recording], None]]:
    if session.quiet:
        yield lambda state: None
        return
    with session.screen.progress() as tell:
        is_live = session.screen.is_updating
        told: list[str | None] = [None]

        def tell_state(state: Recording) -> None:
            shown = ""
            if is_live and state.progress is not None:
                shown = f" {render.bar(state.progress, session.now() - state.since)}"
            is_known = not is_live and state.detail == told[0]  # it stands in a line above
            told[0] = state.detail
            tell(render.progress(state, has_detail=not is_known) + shown)

        yield tell_state


def _done(session: Session, recording: Recording, way: Way, accepted: str) -> Recording | None:
    """What a request leads to; None when it was interrupted, and then people have read what holds."""
    request = follow.Request()
    try:
        with _telling(session) as tell:
            return way(session, recording, request, tell)
    except KeyboardInterrupt:
        unknown = "may have been asked for it or not" if request.is_sent else "was not asked for it and goes on"
        session.note(_interruption(recording, accepted if request.is_accepted else unknown))
        return None


def _interruption(recording: Recording, what: str) -> str:
    return f"interrupted: {render.name_of(recording)} {what}; '{PROGRAM} status {recording.id}' shows it."


def _report_start(session: Session, state: Recording) -> int:
    if not session.show_json(state.answer):
        session.screen.show_text(str(state.id))
    if state.is_final and (state.state == "failed" or not state.has_media):
        raise _failure(state)
    return ExitCode.DONE


def _report_asked(session: Session, state: Recording | None) -> int:
    if state is None:
        return ExitCode.INTERRUPTED
    session.note(render.progress(state))
    session.json_only(state.answer)
    return ExitCode.DONE


def _report_waited(session: Session, state: Recording | None) -> int:
    return ExitCode.INTERRUPTED if state is None else _report_end(session, state)


def _report_end(session: Session, state: Recording) -> int:
    if state.state == "failed":
        session.json_only(state.answer)
        raise _failure(state)
    took = format_elapsed((state.ended or session.now()) - state.started)
    size = f"{plural(state.segments, 'segment')}, {format_size(state.bytes)}, {took}"
    session.note(f"{render.name_of(state)} is {state.state}: {size if state.path else 'no media were received'}.")
    if not session.show_json(state.answer) and state.path:
        session.screen.show_text(state.path)
    return ExitCode.DONE


def _failure(state: Recording) -> Failed:
    why = state.detail or f"it is {state.state}"
    return Failed(
        f"cannot complete {render.name_of(state)}: {why}",
        hint=f"'streamvaultctl logs {state.id}' tells the story",
    )


COMMANDS: dict[str, Command] = {
    "record": record, "stop": stop, "wait": wait, "rotate": rotate, "retry": retry, "keep": keep, "unkeep": unkeep,
}  # fmt: skip
