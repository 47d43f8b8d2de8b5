# SPDX-License-Identifier: GPL-3.0-or-later
"""streamvaultctl chat: what was said beside a recording, as text, subtitles, or JSON for other programs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

from streamvaultd.base.units import parse_span
from streamvaultd.ctl import records
from streamvaultd.ctl.options import RECORDING, Command, command, option
from streamvaultd.ctl.outcome import Failed, Usage
from streamvaultd.ctl.records import Fields, Recording
from streamvaultd.ctl.session import Session
from streamvaultd.ctl.show.chatting_text import chat_of
from streamvaultd.ctl.show.text import plural
from streamvaultd.jobs.chatlog.export import ERRORS, NAMES, Wanted, export

BLOCK = 200
"""Messages that are printed at once."""

Stretch = tuple[float, float, float]


@command("chat")
@RECORDING
@option("--format", name="form", metavar="FORMAT", choices=NAMES, help="text (the default), vtt, ass, or json.")
@option("--part", metavar="N", least=1, help="Of a result with several files: beside which. [default: 1]")
@option("--delay", metavar="SPAN", help="How long after a picture viewers see it, and answer. [default: 0]")
@option("--deleted", metavar="drop|keep", choices=("drop", "keep"), help="What moderators removed. [default: drop]")
@option("--output", metavar="FILE", help="Write to this file, which is not there yet.", complete="file")
def chat(
    session: Session,
    *,
    recording: str,
    form: str | None = None,
    part: int | None = None,
    delay: str | None = None,
    deleted: str | None = None,
    output: str | None = None,
) -> None:
    """Print the chat of a recording, each message at its place in the result.

    As text, as subtitles (WebVTT, ASS), or as JSON that TwitchDownloader reads.
    """
    found = session.get(recording)
    if session.show_json(found.answer):
        return
    wanted = replace(_wanted(session, found, form or NAMES[0], part or 1, _ms(delay)), with_removed=deleted == "keep")
    try:
        pieces, tally = export(wanted)
        _write(session, pieces, output)
    except ERRORS as error:
        what = getattr(error, "strerror", None) or error
        where = getattr(error, "filename", None) or wanted.path
        raise Failed(f"cannot print the chat of {recording}: {where}: {what}", hint="may you read it?") from error
    left_out = f", {plural(tally.outside, 'message')} before or after the media left out" if tally.outside else ""
    removed = f", {plural(tally.removed, 'message')} that moderators removed left out" if tally.removed else ""
    session.note(f"{plural(tally.messages, 'message')}{left_out}{removed}.")


def _wanted(session: Session, found: Recording, form: str, part: int, delay: float) -> Wanted:
    known = chat_of(found)
    if known is None or known.path is None:
        why = "it has none" if known is None else f"it is {known.state}"
        hint = "it is packed when the recording is over; '[chat] capture' says of whom chats are captured"
        raise Failed(f"cannot print the chat of {found.id}: {why}", hint=hint)
    parts = list(_parts(session, found))
    if part > max(1, len(parts)):
        raise Usage(f"--part {part}: the result has {plural(len(parts), 'file')}")
    on_air = parts[part - 1] if parts else []
    if not on_air:
        session.note("When its media were broadcast is not known: places are counted from the recording's start.")
        on_air = [(0.0, found.started / 1000, ((found.ended or session.now()) - found.started) / 1000)]
    return Wanted(
        path=Path(known.path), form=form, on_air=on_air, delay=delay, streamer=found.streamer, recording=found.id,
        channel=known.channel, title=_title(session, found),
    )  # fmt: skip


def _parts(session: Session, found: Recording) -> Iterator[list[Stretch]]:
    """When what each file of the result shows was broadcast."""
    for each in records.objects(session.call("ListParts", recording=str(found.id)), "parts"):
        top = Fields(each, "part")
        if not top.truth("isKept"):
            yield [_stretch(item) for item in records.objects(each, "onAir")] if top.has("onAir") else []


def _stretch(item: records.Answer) -> Stretch:
    top = Fields(item, "onAir")
    return top.need("atUSec", int) / 1000, top.need("began", int) / 1000, top.need("lengthUSec", int) / 1000


def _title(session: Session, found: Recording) -> str:
    answer = session.call("GetStream", stream=found.stream)
    return Fields(answer, "reply").child("stream").text("title") or f"Recording {found.id}"


def _ms(text: str | None) -> float:
    try:
        return 0.0 if text is None else parse_span(text) / 1000
    except ValueError as error:
        raise Usage(f"--delay: {error}") from None


def _write(session: Session, pieces: Iterator[str], output: str | None) -> None:
    """A file that is there stays as it is. Raises OSError."""
    if output is None:
        while block := "".join(islice(pieces, BLOCK)):
            session.screen.show_whole(block)
        return
    with Path(output).open("x", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
        file.writelines(pieces)


COMMANDS: dict[str, Command] = {"chat": chat}
