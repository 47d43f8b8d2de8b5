# SPDX-License-Identifier: GPL-3.0-or-later
"""Units, journal catalogue and package, against the code that they install and the documents that describe them."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from string import Formatter

from streamvaultd.brokerd import notices as brokerd
from streamvaultd.core import names
from streamvaultd.core.recording.effects import Notice
from streamvaultd.reporting.announced import ENTRIES
from tests.unit.tables import NOTICES

ROOT = Path(__file__).resolve().parents[2]
SYSTEMD = ROOT / "systemd"
UNITS = {path.name: path for kind in ("service", "socket", "slice") for path in SYSTEMD.glob(f"*.{kind}")}
CATALOG = (SYSTEMD / "streamvaultd.catalog").read_text()
COMMON_FIELDS = {"STREAMER", "STREAM", "RECORDING", "SEGMENT", "CAUSE"}


def catalogue() -> dict[str, str]:
    """The entries of the journal's catalogue by their message ID (https://systemd.io/CATALOG)."""
    parts = re.split(r"^-- ([0-9a-f]{32})$", CATALOG, flags=re.MULTILINE)[1:]
    assert len(parts[::2]) == len(set(parts[::2]))
    return dict(zip(parts[::2], parts[1::2], strict=True))


def used_fields(entry: str) -> set[str]:
    """The journal fields that an entry of the catalogue shows."""
    return set(re.findall(r"@STREAMVAULT_(\w+)@", entry))


def test_every_message_has_a_text_in_the_catalogue() -> None:
    told = {entry.message_id for entry in (*ENTRIES.values(), *NOTICES)}
    told |= {brokerd.REFUSED.message_id, brokerd.FAILED.message_id}
    assert set(catalogue()) == told


def test_every_notice_has_a_message() -> None:
    assert set(ENTRIES) == set(Notice)


def test_an_empty_line_stands_before_each_entry_of_the_catalogue() -> None:
    """Without it systemd takes the entry for more text of the one above."""
    lines = CATALOG.splitlines()
    starts = [number for number, line in enumerate(lines) if line.startswith("-- ")]
    assert [lines[number] for number in starts if number and lines[number - 1]] == []


def test_catalogue_entries_are_complete() -> None:
    for message_id, entry in catalogue().items():
        head, _, body = entry.strip().partition("\n\n")
        keys = [line.partition(":")[0] for line in head.splitlines()]
        assert keys == ["Subject", "Defined-By", "Documentation"], message_id
        assert body, message_id


def test_catalogue_shows_only_fields_that_the_message_has() -> None:
    entries = catalogue()
    for notice, entry in ENTRIES.items():
        named = {name.upper() for _, name, _, _ in Formatter().parse(entry.text) if name}
        assert used_fields(entries[entry.message_id]) <= named | COMMON_FIELDS, notice
    for entry in NOTICES:
        assert used_fields(entries[entry.message_id]) <= COMMON_FIELDS, entry.text


def test_launchers_start_what_exists() -> None:
    for launcher in (SYSTEMD / "libexec").iterdir():
        imports = [node for node in ast.parse(launcher.read_text()).body if isinstance(node, ast.ImportFrom)]
        (wanted,) = imports
        assert wanted.module is not None
        source = ROOT.joinpath(*wanted.module.split(".")).with_suffix(".py")
        functions = {node.name for node in ast.parse(source.read_text()).body if isinstance(node, ast.FunctionDef)}
        assert "main" in functions, launcher.name


def test_services_start_launchers_that_exist() -> None:
    for name in (name for name in UNITS if name.endswith(".service")):
        started = re.findall(r"^ExecStart=-?/usr/libexec/streamvaultd/(\S+)", UNITS[name].read_text(), re.MULTILINE)
        assert [(SYSTEMD / "libexec" / command).stat().st_mode & 0o111 for command in started] == [0o111]


def test_scopes_go_into_slices_that_exist() -> None:
    assert {names.DAEMON, names.RECORDINGS_SLICE, names.JOBS_SLICE} <= set(UNITS)


def test_every_unit_is_described() -> None:
    page = (ROOT / "docs" / "man" / "streamvaultd.8.rst").read_text()
    section = page.split("\nUNITS\n", 1)[1].split("\nRECORDING TO OTHER FOLDERS\n", 1)[0]
    assert [name for name in UNITS if name not in section] == []


def test_every_line_of_units_has_a_section() -> None:
    for name, path in UNITS.items():
        lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
        assert lines[0] == "[Unit]", name
        assert [line for line in lines if not re.fullmatch(r"\[\w+\]|[A-Z]\w+=.*", line)] == [], name


def test_rules_stay_short() -> None:
    assert len((ROOT / "debian" / "rules").read_text().splitlines()) <= 25
