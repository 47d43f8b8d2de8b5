# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of streamvaultctl that audit: check, cleanup."""

from __future__ import annotations

from typing import NamedTuple

from streamvaultd.ctl import records
from streamvaultd.ctl.options import Command, command, option
from streamvaultd.ctl.outcome import ExitCode
from streamvaultd.ctl.records import Answer, Fields
from streamvaultd.ctl.session import Session
from streamvaultd.ctl.show.text import Line, Span, Style, escape, line, plural

COUNTED = (
    ("recordings", "recording"),
    ("segments", "segment"),
    ("units", "unit"),
    ("processes", "process"),
    ("files", "file"),
    ("pipes", "exit pipe"),
    ("jobs", "job"),
)


class Violation(NamedTuple):
    rule: str
    kind: str
    subject: str
    text: str
    repair: str | None
    advice: str | None


@command("check")
def check(session: Session) -> ExitCode:
    """Check the store, units, processes and files.

    Exit status 1 if there is anything.
    """
    answer = next(iter(session.more("Check")))  # seconds: what is suspicious is looked at again
    found = [parse_violation(item) for item in records.objects(answer, "violations")]
    if not session.show_json(answer):
        lines = [violation_line(violation) for violation in found]
        if not session.no_legend and not session.quiet:
            lines += [*([line("")] if lines else []), *_footer(answer, found)]
        session.show(lines)
    return ExitCode.FAILED if found else ExitCode.DONE


@command("cleanup")
@option("--dry-run", is_flag=True, help="Print what would be done, and change nothing.")
def cleanup(session: Session, *, dry_run: bool) -> ExitCode:
    """Repair what 'check' names, and check again.

    Safe at any time: running recordings are not touched, and no media are removed that are not in a verified joined
    file. Exit status 1 if something was left alone.
    """
    answer = next(iter(session.more("Cleanup", dryRun=dry_run or None)))
    details = records.objects(answer, "details")
    left = [detail for detail in details if not detail.get("done")]
    if not session.show_json(answer):
        lines = [_detail_line(detail, dry_run=dry_run) for detail in details]
        if not session.no_legend and not session.quiet:
            cleaned = f"{len(details) - len(left)} would be cleaned" if dry_run else f"{answer.get('cleaned')} cleaned"
            counts = f"Checked: {_counts(answer)}. {cleaned}, {plural(len(left), 'error')}."
            lines += [*([line("")] if lines else []), line(counts)]
        session.show(lines)
    return ExitCode.FAILED if left else ExitCode.DONE


def parse_violation(answer: Answer) -> Violation:
    """From type Violation; raises BadAnswer."""
    found = Fields(answer, "violation")
    return Violation(
        rule=found.need("rule", str),
        kind=found.need("kind", str),
        subject=found.need("subject", str),
        text=found.need("text", str),
        repair=found.text("repair"),
        advice=found.text("advice"),
    )


def violation_line(violation: Violation) -> Line:
    """One violation, in one line."""
    then = f"Cleanup: {violation.repair}" if violation.repair else f"To do: {violation.advice}"
    return (
        Span(violation.rule, Style.BAD),
        Span(f" {violation.kind} "),
        Span(escape(violation.subject), Style.STRONG),
        Span(f": {escape(violation.text)} "),
        Span(f"{escape(then)}.", Style.FAINT),
    )


def _detail_line(detail: Answer, *, dry_run: bool) -> Line:
    violation = parse_violation(records.object_of(detail, "violation"))
    is_done = bool(detail.get("done"))
    word = "error  " if not is_done else "dry-run" if dry_run else "cleaned"
    about = "" if is_done else f"{violation.text} Left alone: "
    return (
        Span(word, Style.GOOD if is_done else Style.BAD),
        Span(f" {violation.kind} "),
        Span(escape(violation.subject), Style.STRONG),
        Span(f": {escape(about)}{escape(Fields(detail, 'detail').need('text', str))}."),
    )


def _footer(answer: Answer, found: list[Violation]) -> list[Line]:
    able = sum(violation.repair is not None for violation in found)
    hint = f" 'streamvaultctl cleanup' repairs {able} of them." if able else ""
    unseen = answer.get("unseen")
    parts = [f"Not looked at: {escape(str(part))}." for part in unseen] if isinstance(unseen, list) else []
    summary = f"{plural(len(found), 'violation')}. Checked: {_counts(answer)}.{hint}"
    return [*(line(part, Style.BUSY) for part in parts), line(summary)]


def _counts(answer: Answer) -> str:
    checked = records.object_of(answer, "checked")
    counts = ((checked.get(name), noun) for name, noun in COUNTED)
    return ", ".join(_plural(count, noun) for count, noun in counts if isinstance(count, int))


def _plural(count: int, noun: str) -> str:
    return f"{count} processes" if noun == "process" and count != 1 else plural(count, noun)


COMMANDS: dict[str, Command] = {"check": check, "cleanup": cleanup}
