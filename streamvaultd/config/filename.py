# SPDX-License-Identifier: GPL-3.0-or-later
"""How a joined file may be called."""

from __future__ import annotations

import re
import string
from datetime import UTC, datetime
from typing import Any, Final

from streamvaultd.base.filenames import FIELDS, NAME_BYTES_MAX, NameFacts, fill
from streamvaultd.config.kinds import SettingKind, Unfit, text
from streamvaultd.core.model import Library

TELLING: Final = ("recording", "stream", "start", "title", "id")
"""Fields by which recordings of one streamer can be told apart."""

_WIDTH: Final = re.compile(r"[<>^]?\d{0,2}d?", re.ASCII)
_DATE: Final = re.compile(r"(?:[^%{}:/]|%[aAbBdFGHIjmMpSuUVwWyYzZ%])+", re.ASCII)


def check_template(value: Any) -> str:
    """A file name template: its text if it is usable, else ValueError with the reason."""
    template = text(value)
    try:
        used = [(name, spec or "") for _, name, spec, _ in string.Formatter().parse(template) if name is not None]
    except ValueError as error:
        raise Unfit(str(error)) from None
    names = {name for name, _ in used}
    if unknown := sorted(names - FIELDS):
        raise Unfit(f"'{unknown[0]}' is none of its fields ({', '.join(sorted(FIELDS))})")
    if not names & set(TELLING):
        raise Unfit(f"it must contain one of {', '.join(f'{{{name}}}' for name in TELLING)}, to tell recordings apart")
    if "/" in template or not template.isprintable() or template.startswith("."):
        raise Unfit("it must be a file name, without '/' and control characters, and not beginning with '.'")
    for name, spec in used:
        _check_spec(name, spec)
    _check_longest(template)
    return template


def _check_spec(name: str, spec: str) -> None:
    if _WIDTH.fullmatch(spec):
        return
    if name != "start":
        raise Unfit("what follows the ':' of a field may be a width such as 04d")
    if not _DATE.fullmatch(spec):
        raise Unfit("what follows the ':' of {start} may be a width, or a date such as %Y-%m-%d_%H.%M")


def _check_longest(template: str) -> None:
    """What the site says is cut at need; all else has to fit."""
    longest = NameFacts(
        streamer="x" * 64, start=datetime(2026, 9, 30, tzinfo=UTC), recording=10**9, stream=10**9
    )  # a Wednesday in September
    try:
        name = fill(template, longest, limit=10 * NAME_BYTES_MAX)
    except ValueError as error:
        raise Unfit(str(error)) from None
    if len(name.encode()) > NAME_BYTES_MAX:
        raise Unfit(f"names of files may become longer than {NAME_BYTES_MAX} bytes")


USUAL: Final = "{streamer}_{start}_{recording}"
"""What results are called if nobody says otherwise."""

EPISODE: Final = "{streamer} - S{start:%Y}E{start:%m%d%H%M} - {start:%Y-%m-%d} {title}"
"""A season for each year, and an episode for each minute of it. The title comes last, for servers take the first thing
in a name that may be an episode's."""


def as_episode(template: str, library: Library) -> str:
    """The template for a library, unless somebody has set another one."""
    return EPISODE if library is Library.JELLYFIN and template == USUAL else template


FILENAME: Final = SettingKind(check_template, "text with a field in it that tells recordings apart")
