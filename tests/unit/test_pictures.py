# SPDX-License-Identifier: GPL-3.0-or-later
"""The pictures of the documents: those that `make pictures` makes, all shown, and of the program as it is today."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from streamvaultd.ctl.commands import top
from streamvaultd.ctl.show.result import seam_table
from tests.fakes.ctl import NOW, FakeDaemon, at, event, one, run
from tests.testbed.pictures import COLUMNS, FOLDER, OVER, PICTURES, picture, title_of

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
SHOWN = re.compile(r"!\[[^]]*\]\(([^)]+\.svg)\)")
NAMES = sorted(PICTURES)
PROGRAMS_OWN = [name for name in NAMES if "--svg" in PICTURES[name]]


def drawing(svg: str) -> ElementTree.Element:
    """One of ours, as XML."""
    return ElementTree.fromstring(svg)  # noqa: S314 - we have made it


def texts(svg: str) -> list[str]:
    """What is written in a picture."""
    found = [node.text or "" for node in drawing(svg).iter() if node.tag.endswith("}text")]
    return [text.replace("\N{NO-BREAK SPACE}", " ").strip() for text in found if text.strip()]


def titles(svg: str, first: str) -> set[str]:
    """The columns of the table whose first one is this: its head is one line of text, or several."""
    root = drawing(svg)
    lines: dict[str, str] = {}
    for node in root.iter():
        if node.tag.endswith("}text") and node.get("clip-path"):
            lines[node.get("clip-path", "")] = f"{lines.get(node.get('clip-path', ''), '')} {node.text}"
    heads = [text.replace("\N{NO-BREAK SPACE}", " ") for text in lines.values()]
    return {*next(head for head in heads if head.split()[:1] == [first]).split()}


def test_the_pictures_are_those_that_are_made() -> None:
    assert sorted(path.stem for path in FOLDER.iterdir()) == NAMES


def test_documents_show_every_picture_and_no_other() -> None:
    shown = {
        (document.parent / link).resolve() for document in DOCUMENTS for link in SHOWN.findall(document.read_text())
    }
    assert shown == {FOLDER / f"{name}.svg" for name in NAMES}
    assert SHOWN.findall((ROOT / "README.md").read_text())


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_fetches_nothing(name: str) -> None:
    svg = (FOLDER / f"{name}.svg").read_text()
    assert drawing(svg).tag == "{http://www.w3.org/2000/svg}svg"
    assert not re.search(r"@font-face|@import|url\((?!#)|href|<script|<image", svg)
    assert (title_of(PICTURES[name]) in texts(svg)) != (name in PROGRAMS_OWN)


def test_pictures_are_of_a_recording_with_a_rotation_and_a_death() -> None:
    shown = {name: " ".join(texts((FOLDER / f"{name}.svg").read_text())) for name in NAMES}
    for name in ("status", "timeline", "why"):
        assert "signal:9" in shown[name], name
    assert "rotated" in shown["timeline"]
    assert "001-002" in shown["seams"]


def test_the_tables_in_pictures_have_the_columns_of_today() -> None:
    known = {
        "seams": {column.title for column in seam_table([]).columns},
        "top": {each.title for each in top._COLUMNS},
    }
    first = {"seams": "SEGMENTS", "top": "ID"}
    for name, columns in known.items():
        words = {word for title in columns for word in title.split()}
        found = titles((FOLDER / f"{name}.svg").read_text(), first[name])
        assert found <= words, name
        assert len(found) > len(words) // 2, name


def test_a_picture_is_what_a_command_has_written() -> None:
    daemon = FakeDaemon().on("Get", one("completed", endedAt=at(NOW)))
    end = {
        "segment": 2, "phase": "ended", "startedAt": at(NOW), "endedAt": at(NOW), "bytes": 4096, "cause": "signal:9",
        "death": True, "why": "it was <killed> by signal 9", "events": [event()],
    }  # fmt: skip
    daemon.on("Why", {"ends": [end]})
    ran = run(daemon, *OVER["why"], on_terminal=True, COLUMNS=str(COLUMNS), SYSTEMD_PAGER="")
    assert "\x1b[" in ran.out
    drawn = picture(f"\x1b[?25l{ran.out}\x1b[?25h\r\n", OVER["why"])
    written = " ".join(texts(drawn))
    assert "it was <killed> by signal 9" in written
    assert not re.search(r"\[\d|\x1b", written)
    assert "fill: #" in drawn


def test_a_picture_of_two_lines_has_two() -> None:
    drawn = picture("one\n\x1b[1;31mtwo\x1b[0m\n", ("status",))
    assert texts(drawn) == [title_of(("status",)), "one", "two"]
