# SPDX-License-Identifier: GPL-3.0-or-later
"""streamvaultctl rescan: rows for recordings that are on disk and that the store has lost."""

from __future__ import annotations

from pathlib import Path

from streamvaultd.ctl import records
from streamvaultd.ctl.options import Command, argument, command, option
from streamvaultd.ctl.outcome import ExitCode
from streamvaultd.ctl.records import Answer, Fields
from streamvaultd.ctl.session import Session
from streamvaultd.ctl.show.text import Line, Span, Style, escape, line, plural

FINE = ("known", "rebuilt")


@command("rescan")
@argument("directory", "[DIRECTORY]", required=False, complete="file")
@option("--dry-run", is_flag=True, help="Print what would be done, and change nothing.")
def rescan(session: Session, *, directory: str | None, dry_run: bool) -> ExitCode:
    """Rebuild the store's rows from the manifests of recordings.

    Below DIRECTORY, or below all that are known. Media are not touched. Exit status 1 if something was left alone that
    the store does not have.
    """
    where = None if directory is None else str(Path(directory).absolute())
    answer = next(iter(session.more("Rescan", directory=where, dryRun=dry_run or None)))
    found = records.objects(answer, "found")
    verdicts = [Fields(one, "rescanned").need("verdict", str) for one in found]
    left = sum(verdict not in FINE for verdict in verdicts)
    if not session.show_json(answer):
        lines = [_line(one) for one in found if one.get("verdict") != "known"]
        if not session.no_legend and not session.quiet:
            rebuilt = f"{verdicts.count('rebuilt')} {'would be rebuilt' if dry_run else 'rebuilt'}"
            counts = f"{verdicts.count('known')} known, {rebuilt}, {left} left alone."
            summary = f"{plural(len(found), 'recording')} on disk: {counts}"
            lines += [*([line("")] if lines else []), line(summary)]
        session.show(lines)
    return ExitCode.FAILED if left else ExitCode.DONE


def _line(found: Answer) -> Line:
    fields = Fields(found, "rescanned")
    verdict = fields.need("verdict", str)
    return (
        Span(verdict, Style.GOOD if verdict in FINE else Style.BAD),
        Span(f" {escape(fields.need('path', str))}", Style.STRONG),
        Span(f": {escape(fields.need('text', str))}."),
    )


COMMANDS: dict[str, Command] = {"rescan": rescan}
