# SPDX-License-Identifier: GPL-3.0-or-later
"""streamvaultctl prune: removes media that nobody wants any more."""

from __future__ import annotations

from streamvaultd.base.units import format_size, parse_span
from streamvaultd.ctl import records
from streamvaultd.ctl.options import MAYBE_RECORDING, Command, command, option
from streamvaultd.ctl.outcome import ExitCode, Usage
from streamvaultd.ctl.records import Fields
from streamvaultd.ctl.session import Session
from streamvaultd.ctl.show.text import Line, Span, Style, line, plural
from streamvaultd.errors import InvalidDuration

HINTS = [
    "'streamvaultctl prune --older-than 30d --dry-run'",
    "'streamvaultctl prune --by-retention --dry-run'",
    "--streamer goes with these two only",
]


@command("prune")
@MAYBE_RECORDING
@option("--older-than", metavar="TIME", help="Remove media of all recordings that ended longer ago: 30d, 12w.")
@option(
    "--streamer",
    metavar="NAME",
    complete="recording",
    help="With --older-than or --by-retention: of this streamer only.",
)
@option("--failed", is_flag=True, help="Also segments of recordings that could not be joined: all there is of them.")
@option("--force", is_flag=True, help="Also recordings that are marked to be kept, see 'keep', or not uploaded yet.")
@option("--by-retention", is_flag=True, help="Remove what [retention] does not let be kept, without waiting for it.")
@option("-y", "--yes", is_flag=True, help="Do not ask on a terminal.")
@option("--dry-run", is_flag=True, help="Print what would be removed, and change nothing.")
def prune(
    session: Session,
    *,
    recording: str | None,
    older_than: str | None,
    streamer: str | None,
    failed: bool,
    force: bool,
    by_retention: bool,
    yes: bool,
    dry_run: bool,
) -> ExitCode:
    """Remove media of recordings that are over.

    Of one, of all that ended longer ago than a time, or of those that retention will remove by itself. What runs or is
    being joined is never touched, and what is marked to be kept only with --force. The recordings stay in the list,
    and say that their media are gone. Exit status 1 if something stays that you asked to remove, or you say no.
    """
    bounds = [recording is not None, older_than is not None, by_retention].count(True)
    if bounds != 1 or ((failed or force) and by_retention) or (recording is not None and streamer is not None):
        raise Usage("give a recording, or --older-than, or --by-retention without --failed and --force", HINTS)
    asked: dict[str, object] = {
        "recording": recording,
        "streamer": streamer,
        "olderThanUSec": None if older_than is None else _parse_age(older_than),
        "failed": failed or None,
        "force": force or None,
        "byRetention": by_retention or None,
        "dryRun": dry_run or None,
    }
    if not (dry_run or yes) and (refused := _refused(session, asked)) is not None:
        return refused
    answers = _all(session, asked, is_repeated=not dry_run)
    found = [item for answer in answers for item in records.objects(answer, "pruned")]
    kept = [item for item in found if not item.get("done")]
    if not session.show_json(answers[-1] | {"pruned": found, "bytes": _bytes(answers)}):
        lines = [_line(Fields(item, "pruned"), dry_run=dry_run) for item in found]
        lines += [line(f"note: {note}.") for note in _notes(answers[-1])]
        if not session.no_legend and not session.quiet:
            verb = "would be removed" if dry_run else "removed"
            footer = f"{format_size(_bytes(answers))} {verb}, of {plural(len(found) - len(kept), 'recording')}."
            footer += " There are more: the rest follows another call." if answers[-1].get("more") else ""
            lines += [*([line("")] if lines else []), line(footer)]
        session.show(lines)
    return ExitCode.FAILED if kept else ExitCode.DONE


def _refused(session: Session, asked: dict[str, object]) -> ExitCode | None:
    """How it ends where people do not want it, or interrupt the question; None if they want it."""
    try:
        if _is_wanted(session, asked):
            return None
    except KeyboardInterrupt:
        session.note("interrupted: nothing is removed.")
        return ExitCode.INTERRUPTED
    session.note("Nothing is removed.")
    return ExitCode.FAILED


def _is_wanted(session: Session, asked: dict[str, object]) -> bool:
    """Whether people want it who have seen what would go; where nobody can be asked it was meant."""
    if not session.screen.is_terminal or session.json != "off":
        return True
    answers = _all(session, asked | {"dryRun": True}, is_repeated=False)
    found = [Fields(item, "pruned") for answer in answers for item in records.objects(answer, "pruned")]
    if not any(item.need("done", bool) for item in found):
        return True
    for item in found:
        session.screen.note_line(_line(item, dry_run=True))
    more = " and what follows" if answers[-1].get("more") else ""
    return session.confirm(f"Remove {format_size(_bytes(answers))}{more}?", default=False) is not False


def _all(session: Session, asked: dict[str, object], *, is_repeated: bool) -> list[dict[str, object]]:
    """The answers, until there is no more; or until nothing comes of it any more."""
    answers: list[dict[str, object]] = []
    while True:
        answer = dict(next(iter(session.more("Prune", **asked))))  # it may take long
        answers.append(answer)
        is_done = any(item.get("done") for item in records.objects(answer, "pruned"))
        if not (is_repeated and is_done and answer.get("more")):
            return answers


def _bytes(answers: list[dict[str, object]]) -> int:
    return sum(Fields(answer, "prune").need("bytes", int) for answer in answers)


def _notes(answer: dict[str, object]) -> tuple[str, ...]:
    fields = Fields(answer, "prune")
    return fields.texts("notes") if fields.has("notes") else ()


def _parse_age(text: str) -> int:
    try:
        return parse_span(text)
    except ValueError as exc:
        raise InvalidDuration(value=text, why=str(exc)) from exc


def _line(top: Fields, *, dry_run: bool) -> Line:
    about = f"recording {top.need('recording', int)} of '{top.need('streamer', str)}'"
    if not top.need("done", bool):
        return (Span("kept   ", Style.BUSY), Span(f" {about}: {top.text('why')}."))
    files = ", ".join(top.texts("files")) or "its files were gone already"
    word = "dry-run" if dry_run else "removed"
    rule = f" ({top.text('rule')})" if top.text("rule") else ""
    return (Span(word, Style.GOOD), Span(f" {about}{rule}: {format_size(top.need('bytes', int))}, {files}."))


COMMANDS: dict[str, Command] = {"prune": prune}
