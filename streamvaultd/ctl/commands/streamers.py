# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of streamvaultctl about streamers: streamers, add, remove, enable, disable, probe; and notify."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import NamedTuple

from streamvaultd.ctl import records
from streamvaultd.ctl.options import Command, argument, command, option
from streamvaultd.ctl.outcome import ExitCode, Usage
from streamvaultd.ctl.records import Answer, Fields
from streamvaultd.ctl.session import Session
from streamvaultd.ctl.show.table import Column, Table
from streamvaultd.ctl.show.text import Span, Style, line, plural
from streamvaultd.errors import ConnectionLost, DaemonNotRunning, VaultError

STREAMER = argument("streamer", "NAME", complete="streamer")
STYLES = {
    "recording": Style.GOOD, "starting": Style.BUSY, "live": Style.BUSY, "trouble": Style.BAD,
    "unsupported": Style.BAD, "refused": Style.BAD, "disabled": Style.FAINT,
}  # fmt: skip


class Streamer(NamedTuple):
    name: str
    url: str
    state: str
    detail: str
    title: str
    recording: int | None


@command("streamers")
def streamers(session: Session) -> None:
    """List the streamers that are watched."""
    found = session.pages("ListStreamers", "streamers")
    if session.show_json(found):
        return
    status = session.call("GetStatus")
    trouble = Fields(status, "status").text("streamlinkTrouble")
    every = [parse_streamer(item) for item in found]
    every += [*_refused(status, {streamer.name for streamer in every})]
    lines = session.table_lines(streamer_table(every)) if every else []
    if not session.no_legend and not session.quiet:
        live = sum(streamer.state in ("live", "starting", "recording") for streamer in every)
        footer = f"{plural(len(every), 'streamer')} listed, {live} live."
        footer += "" if every else " 'streamvaultctl add URL' adds one."
        lines += [*([line("")] if lines else []), line(footer)]
    if trouble is not None:
        lines.append(line(trouble, Style.BAD))
    session.show(lines)


def _refused(status: Answer, known: set[str]) -> Iterator[Streamer]:
    """Those whose files have mistakes, and who are not watched therefore."""
    for item in records.objects(status, "mistakes"):
        found = records.parse_mistake(item)
        folder, _, name = found.file.removesuffix(".toml").rpartition("/")
        if folder.endswith("/streamers.d") and name not in known:
            known.add(name)
            yield Streamer(name, "", "refused", found.text, "", None)


@command("add")
@argument("urls", "URL...")
@option("--name", metavar="NAME", help="Name of the streamer. [default: taken from the URL]")
@option("--quality", metavar="QUALITY", help="Qualities by streamlink's names, best first: 1080p60,720p,best.")
def add(session: Session, *, urls: tuple[str, ...], name: str | None, quality: str | None) -> ExitCode:
    """Watch streamers, and record every broadcast.

    '-' stands for URLs on the standard input, one a line; what begins with # is a comment.
    """
    every = [found for url in urls for found in (_from_input() if url == "-" else [url])]
    if len(every) == 1:
        _report(session, session.call("AddStreamer", url=every[0], name=name, quality=quality), "is watched")
        return ExitCode.DONE
    if name is not None:
        raise Usage("--name goes with one URL only")
    failed = 0
    for url in every:
        try:
            _report(session, session.call("AddStreamer", url=url, quality=quality), "is watched")
        except (DaemonNotRunning, ConnectionLost):
            raise
        except VaultError as error:
            failed += 1
            session.screen.note(f"{url}: {error}", Style.BAD)
    if not session.quiet:
        session.note(f"{plural(len(every) - failed, 'streamer')} added, {failed} not.")
    return ExitCode.FAILED if failed else ExitCode.DONE


def _from_input() -> list[str]:
    try:
        lines = [text.strip() for text in sys.stdin]
    except UnicodeDecodeError as error:
        raise Usage("the standard input is not valid UTF-8") from error
    return [text for text in lines if text and not text.startswith("#")]


@command("remove")
@STREAMER
def remove(session: Session, *, streamer: str) -> None:
    """Stop watching a streamer.

    A recording that runs goes on, and all recordings stay.
    """
    session.json_only(session.call("RemoveStreamer", streamer=streamer))
    session.note(f"'{streamer}' is not watched any more.")


@command("enable")
@STREAMER
def enable(session: Session, *, streamer: str) -> None:
    """Watch a streamer again."""
    _report(session, session.call("EnableStreamer", streamer=streamer), "is watched")


@command("disable")
@STREAMER
def disable(session: Session, *, streamer: str) -> None:
    """Stop watching a streamer for now.

    A recording that runs goes on.
    """
    _report(session, session.call("DisableStreamer", streamer=streamer), "is not watched for now")


@command("probe")
@STREAMER
def probe(session: Session, *, streamer: str) -> None:
    """Check now whether a streamer is live.

    If so, a recording begins, as it would have at the next look.
    """
    answer = next(iter(session.more("ProbeStreamer", streamer=streamer)))  # may take longer than other answers
    if session.show_json(answer):
        return
    found = parse_streamer(records.object_of(answer, "streamer"))
    why = f": {found.detail}" if found.detail else ""
    session.show([(Span(f"{found.name} is "), Span(found.state, STYLES.get(found.state, Style.STRONG)), Span(why))])


@command("notify")
@argument("target", "TARGET")
def notify(session: Session, *, target: str) -> None:
    """Send a test message to a target of notifications.

    A target is the NAME of a credential streamvault-notify.NAME, see streamvaultd.toml(5).
    """
    answer = next(iter(session.more("Notify", target=target)))  # may take longer than other answers
    session.json_only(answer)
    session.note(f"A message was sent to '{target}'.")


def _report(session: Session, answer: Answer, what: str) -> None:
    session.json_only(answer)
    session.warn(answer)
    session.note(f"'{parse_streamer(records.object_of(answer, 'streamer')).name}' {what}.")


def parse_streamer(answer: Answer) -> Streamer:
    """From type Streamer; raises BadAnswer."""
    found = Fields(answer, "streamer")
    runtime = found.child("runtime")
    return Streamer(
        name=found.need("name", str),
        url=found.child("context").need("url", str),
        state=runtime.need("state", str),
        detail=runtime.text("detail") or "",
        title=runtime.text("title") or "",
        recording=runtime.integer("recording"),
    )


def streamer_table(every: list[Streamer]) -> Table:
    """One line for each."""
    columns = (
        Column("STREAMER", least=8),
        Column("STATE"),
        Column("RECORDING", is_number=True),
        Column("URL", least=16, drop=1),
        Column("ABOUT", least=10, drop=2),
    )
    rows = tuple(
        (
            Span(streamer.name, Style.STRONG),
            Span(streamer.state, STYLES.get(streamer.state, Style.PLAIN)),
            Span("" if streamer.recording is None else str(streamer.recording)),
            Span(streamer.url),
            Span(streamer.title if streamer.state == "recording" else streamer.detail),
        )
        for streamer in every
    )
    return Table(columns, rows)


COMMANDS: dict[str, Command] = {
    "streamers": streamers, "add": add, "remove": remove, "enable": enable, "disable": disable, "probe": probe,
    "notify": notify,
}  # fmt: skip
