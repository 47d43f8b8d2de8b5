# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of streamvaultctl that tell what was: jobs, events."""

from __future__ import annotations

from streamvaultd.ctl import records
from streamvaultd.ctl.commands.lists import show_table
from streamvaultd.ctl.options import MAYBE_RECORDING, Command, command, option
from streamvaultd.ctl.records import Answer, Fields
from streamvaultd.ctl.session import Session
from streamvaultd.ctl.show import render
from streamvaultd.ctl.show.table import Column, Table
from streamvaultd.ctl.show.text import Span, Style, format_elapsed, format_short_time, plural
from streamvaultd.ctl.when import span_of

EVENTS = 50
PRIORITIES = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")
_STYLES = {"running": Style.BUSY, "failed": Style.BAD}


@command("jobs")
@MAYBE_RECORDING
@option("-a", "--all", name="show_all", is_flag=True, help="Show jobs that have ended, too.")
@option("-n", "--limit", metavar="N", least=1, help="Show the newest N only.")
def jobs(session: Session, *, recording: str | None, show_all: bool, limit: int | None) -> None:
    """List jobs, newest first.

    Those that are running, or with a recording or --all those that have ended, too. Each try is a job.
    """
    status = None if show_all or recording is not None else "running"
    found = session.pages("ListJobs", "jobs", limit=limit, recording=recording, status=status)
    if session.show_json(found):
        return
    columns = (
        Column("JOB", is_number=True), Column("RECORDING", is_number=True), Column("KIND"), Column("STATUS"),
        Column("TRY", is_number=True, drop=4), Column("STARTED", drop=3),
        Column("RUNTIME", drop=2), Column("UNIT", drop=5), Column("RESULT", least=24, drop=1),
    )  # fmt: skip
    table = Table(columns, tuple(_job_row(Fields(item, "job"), session.now()) for item in found))
    footer = f"{plural(len(found), 'job')} listed."
    show_table(session, table, footer if status is None else f"{footer} Pass --all to see those that have ended, too.")


def _job_row(top: Fields, now: int) -> tuple[Span, ...]:
    status, began = top.need("status", str), top.time("createdAt")
    return (
        Span(str(top.need("id", int))),
        Span(str(top.need("recording", int))),
        Span(top.need("kind", str)),
        Span(status, _STYLES.get(status, Style.PLAIN)),
        Span(str(top.need("attempts", int))),
        Span(format_short_time(began)),
        Span(format_elapsed((top.maybe_time("endedAt") or now) - began)),
        Span(top.need("unit", str)),
        Span(top.text("why") or top.text("path") or ""),
    )


@command("events")
@MAYBE_RECORDING
@option("-n", "--limit", metavar="N", least=1, help=f"Show the last N. [default: {EVENTS}]")
@option("-p", "--priority", choices=PRIORITIES, help="Show only those of this priority or worse.")
@option("--kind", metavar="KIND", help="Show only those of one kind: segment-died, rotation-done.")
@option("--since", metavar="TIME", help="Show only those that happened since then: 2h, yesterday, 2026-11-23.")
@option("--until", metavar="TIME", help="Show only those that happened before then.")
def events(
    session: Session,
    *,
    recording: str | None,
    limit: int | None,
    priority: str | None,
    kind: str | None,
    since: str | None,
    until: str | None,
) -> None:
    """Show the messages of the daemon, the latest last.

    Of all recordings or of one. The store keeps this longer than the journal may; 'logs' has streamlink's lines, too.
    """
    asked = {"recording": recording, "kind": kind, **span_of(since, until, session.now())}
    if priority is not None:
        asked["priority"] = PRIORITIES.index(priority)
    found = session.pages("ListEvents", "events", limit=limit or EVENTS, **asked)[::-1]
    if not session.show_json(found):
        session.show([render.event_line(records.parse_event(item), None) for item in found])


def event_answers(session: Session, limit: int) -> list[Answer]:
    """The last events, the latest last."""
    return session.pages("ListEvents", "events", limit=limit)[::-1]


COMMANDS: dict[str, Command] = {"jobs": jobs, "events": events}
