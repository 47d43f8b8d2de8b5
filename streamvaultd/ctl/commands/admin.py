# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of streamvaultctl for the daemon itself: settings, reload, streamlink."""

from __future__ import annotations

from streamvaultd.ctl import records
from streamvaultd.ctl.commands.lists import show_table
from streamvaultd.ctl.options import Command, argument, command, option
from streamvaultd.ctl.outcome import ExitCode
from streamvaultd.ctl.record import Record
from streamvaultd.ctl.records import Answer, Fields
from streamvaultd.ctl.session import Session
from streamvaultd.ctl.show import render
from streamvaultd.ctl.show.table import Column, Table
from streamvaultd.ctl.show.text import Span, Style, plural


@command("settings")
def settings(session: Session) -> None:
    """Show the settings that are in force.

    Those that differ from their defaults are marked. What streamlink's options are set to is not shown.
    """
    found = records.objects(session.call("GetSettings"), "settings")
    if session.show_json(found):
        return
    columns = (
        Column("SETTING"),
        Column("VALUE", least=8),
        Column("DEFAULT", least=16, drop=1),
        Column("ABOUT", least=24, drop=2),
    )
    rows = [_setting_row(Fields(item, "setting")) for item in found]
    show_table(session, Table(columns, tuple(rows)), f"{plural(len(rows), 'setting')} listed.")


def _setting_row(top: Fields) -> tuple[Span, ...]:
    value, default = top.need("value", str), top.need("default", str)
    is_changed = value.replace(" ", "") != default.replace(" ", "")
    name = f"[{top.need('section', str)}] {top.need('key', str)}"
    style = Style.STRONG if is_changed else Style.PLAIN
    return Span(name), Span(value, style), Span(default, Style.FAINT), Span(top.need("about", str))


@command("reload")
def reload(session: Session) -> ExitCode:
    """Read the settings and the streamers' files again.

    They apply to what starts next. With mistakes the old ones stay in force, and all mistakes are printed.
    """
    answer = session.call("Reload")
    mistakes, applied = records.objects(answer, "mistakes"), Fields(answer, "answer").need("applied", bool)
    if not session.show_json(answer):
        for mistake in mistakes:
            session.screen.note(render.mistake(records.parse_mistake(mistake)), Style.BAD)
        told = "settings reloaded" if applied else "the old settings stay"
        session.note(f"{told}: {plural(len(mistakes), 'mistake')}" if mistakes else told)
    return ExitCode.FAILED if mistakes else ExitCode.DONE


@command("streamlink")
def streamlink(session: Session) -> None:
    """Manage the daemon's own streamlink.

    It is used instead of the system's. Recordings that run keep the one they were started with.
    """


@streamlink.command("install")
@argument("version", "[VERSION]", required=False)
@option("--no-hashes", is_flag=True, help="Another version, or the newest, whose checksums are not known.")
def streamlink_install(session: Session, *, version: str | None, no_hashes: bool = False) -> None:
    """Install streamlink.

    By default it is a set of wheels whose checksums this program knows. Others are installed with --no-hashes only.
    """
    _manage_streamlink(session, "install", version, no_hashes=True if no_hashes else None)


@streamlink.command("update")
def streamlink_update(session: Session) -> None:
    """Install what this version of the program knows, again."""
    _manage_streamlink(session, "update", None)


@streamlink.command("status")
def streamlink_status(session: Session) -> None:
    """Show which streamlink is used."""
    _manage_streamlink(session, "status", None)


class Streamlink(Record):
    command: str
    version: str
    managed: bool
    warning: str | None


def _parse_streamlink(answer: Answer) -> Streamlink:
    """From the reply of ManageStreamlink; raises BadAnswer."""
    top = Fields(answer, "streamlink")
    return Streamlink(
        command=top.need("command", str),
        version=top.need("version", str),
        managed=top.need("managed", bool),
        warning=top.text("warning"),
    )


def _manage_streamlink(session: Session, verb: str, version: str | None, *, no_hashes: bool | None = None) -> None:
    # minutes: it downloads
    answer = next(iter(session.more("ManageStreamlink", verb=verb, version=version, noHashes=no_hashes)))
    if not session.show_json(answer):
        session.show(render.streamlink_block(_parse_streamlink(answer)))


COMMANDS: dict[str, Command] = {"settings": settings, "reload": reload, "streamlink": streamlink}
