# SPDX-License-Identifier: GPL-3.0-or-later
"""The step that writes what media servers read: NAME.nfo beside each file of the result, and the show's tvshow.nfo.

Jellyfin, Kodi and Plex (its NFO agents) read them. Kodi takes season and episode from the file's name and from nowhere
else, so where the name has them they are taken from it; otherwise they follow from the start. Dates are dates alone: a
server ignores one with a time. What is there of such a name is left alone: somebody may have changed it.
"""

from __future__ import annotations

import os
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple
from xml.etree import ElementTree as Xml

from streamvaultd.base.durable import sync_folder
from streamvaultd.base.filenames import tidy
from streamvaultd.base.zones import local_time
from streamvaultd.jobs.after.belongings import SHOW_FILES
from streamvaultd.jobs.after.step_program import Making, StepSpec, fresh, run
from streamvaultd.jobs.join import output

TITLES_MAX: Final = 100
"""Titles that the plot names."""

SHOW: Final = "tvshow.nfo"
_EPISODE: Final = re.compile(r"[Ss](\d{1,4})[Ee](\d{1,9})(?!\d)", re.ASCII)
_NO_XML: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 has no place for, not even as a reference."""


class Episode(NamedTuple):
    """The numbers that servers sort by."""

    season: int
    number: int


def make(spec: StepSpec, made: Making) -> None:
    """One file for each part, and the show's."""
    for number, part in enumerate(spec.parts, 1):
        draft, final = spec.work / f"{number}.nfo", part.path.with_suffix(".nfo")
        if final.name.casefold() in SHOW_FILES:
            made.note(f"{final.name} is of all recordings, so there is none of this one")
            continue
        if made.has(draft, final):
            continue
        text = _text(_episode(spec, part.path, number))
        if final.is_symlink() or (final.exists() and not _holds(final, text)):
            made.note(f"{final.name} is there already, and left as it is")
            continue
        fresh(draft).write_bytes(text)
        made.publish(draft, final)
    _make_show(spec, made)


def _holds(final: Path, text: bytes) -> bool:
    """Whether a file has this text: then an earlier try has written it, whose drafts are gone."""
    return final.is_file() and final.stat().st_size == len(text) and final.read_bytes() == text


def _make_show(spec: StepSpec, made: Making) -> None:
    """It is of all recordings of the streamer, so it does not go with one of them, and is no file of this step."""
    draft, final = fresh(spec.work / SHOW), spec.folder / SHOW
    if final.exists() or final.is_symlink():
        return
    draft.write_bytes(_text(_element("tvshow", title=spec.streamer, sorttitle=spec.streamer)))
    with draft.open("rb") as file:
        os.fsync(file.fileno())
    try:
        if not output.link(draft, final):
            output.rename_without_replacing(draft, final)
    except FileExistsError:
        made.note(f"{SHOW} came meanwhile")
    sync_folder(final.parent)


def _episode(spec: StepSpec, path: Path, part: int) -> Xml.Element:
    began = local_time(spec.started, str(spec.policy.get("timezone", "UTC")))
    episode, title = episode_of(path.stem, began), _line(spec.title) or f"{began:%Y-%m-%d %H:%M}"
    found = _element(
        "episodedetails", title=title if part == 1 else f"{title} ({part})", showtitle=spec.streamer,
        season=str(episode.season), episode=str(episode.number), aired=f"{began:%Y-%m-%d}", plot=_plot(spec),
        dateadded=f"{datetime.fromtimestamp(spec.ended // 1_000_000, UTC):%Y-%m-%d %H:%M:%S}",
    )  # fmt: skip
    if spec.duration_ms is not None:
        Xml.SubElement(found, "runtime").text = str(max(1, round(spec.duration_ms / 60_000)))
    for category in dict.fromkeys(filter(None, (_line(spec.category), *(_line(one.category) for one in spec.titles)))):
        Xml.SubElement(found, "genre").text = category
    unique = Xml.SubElement(found, "uniqueid", type="streamvault", default="true")
    unique.text = f"{spec.recording}-{part}" if part > 1 else str(spec.recording)
    if spec.site_id:
        Xml.SubElement(found, "uniqueid", type="broadcast").text = _line(spec.site_id)
    return found


def episode_of(name: str, began: datetime) -> Episode:
    """Season and episode as the file's name has them; else the year, and month, day, hour and minute as a number."""
    if (match := _EPISODE.search(name)) is not None:
        return Episode(int(match[1]), int(match[2]))
    return Episode(began.year, int(f"{began:%m%d%H%M}"))


def _plot(spec: StepSpec) -> str:
    """Everything that the broadcast was called."""
    told = [(one.title, one.category) for one in spec.titles[:TITLES_MAX]]
    names = [(_line(title), _line(category)) for title, category in (*told, (spec.title, spec.category))]
    each = (f"{title} ({category})" if category else title for title, category in names)
    return "\n".join(dict.fromkeys(filter(None, each)))


def _line(text: str) -> str:
    return _NO_XML.sub("", tidy(text))


def _element(kind: str, **fields: str) -> Xml.Element:
    found = Xml.Element(kind)
    for name, text in fields.items():
        Xml.SubElement(found, name).text = _NO_XML.sub("", text)
    return found


def _text(element: Xml.Element) -> bytes:
    Xml.indent(element)
    head = b'<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
    return head + Xml.tostring(element, encoding="unicode").encode() + b"\n"


if __name__ == "__main__":
    sys.exit(run(make))
