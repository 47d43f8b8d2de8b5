# SPDX-License-Identifier: GPL-3.0-or-later
"""streamvaultctl timeline: a recording over time."""

from __future__ import annotations

from streamvaultd.ctl.options import RECORDING, Command, command, option
from streamvaultd.ctl.session import Session
from streamvaultd.ctl.show import render, timeline
from streamvaultd.ctl.show.result import parse_seam
from streamvaultd.ctl.show.text import Span, line

COLUMNS = 100
"""Where the output goes into a pipe."""


@command("timeline")
@RECORDING
@option("--svg", is_flag=True, help="Print a drawing (SVG) instead.")
def timeline_(session: Session, *, recording: str, svg: bool) -> None:
    """Show a recording over time.

    Its segments, where one died, where two meet, and where something is missing.
    """
    found = session.get(recording)
    answers = session.seam_answers(str(found.id))
    segments = session.segment_answers(str(found.id))
    if session.show_json({"segments": segments, "seams": answers}):
        return
    runs = timeline.runs_of(session.segments(found.id), session.now())
    seams = [parse_seam(item) for item in answers]
    if svg:
        for text in timeline.svg_of(found, runs, seams, session.now()).split("\n"):
            session.screen.show_text(text)
        return
    title = (render.dot(found.state), Span(f" {render.name_of(found)} is {found.state}"))
    columns = session.screen.columns or COLUMNS
    session.show([title, line(""), *timeline.lines_of(found, runs, seams, session.now(), columns)])


COMMANDS: dict[str, Command] = {"timeline": timeline_}
