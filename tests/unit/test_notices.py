# SPDX-License-Identifier: GPL-3.0-or-later
"""Levels and phrases of the journal: what operators filter by, and what they grep for."""

from __future__ import annotations

import re
from pathlib import Path
from string import Formatter

import pytest

import streamvaultd
from streamvaultd.core.recording.effects import Notice
from streamvaultd.reporting import notices
from streamvaultd.reporting.announced import ENTRIES
from streamvaultd.reporting.entry import ERROR, INFO, NOTICE, WARNING
from streamvaultd.reporting.notices import priority_of
from tests.unit.tables import NOTICES

PACKAGE = Path(streamvaultd.__file__).parent


def text(notice: Notice, **fields: str) -> str:
    entry = ENTRIES[notice]
    names = {name for _, name, _, _ in Formatter().parse(entry.text) if name}
    return entry.text.format_map(dict.fromkeys(names, "x") | fields)


def test_operators_find_the_phrases_that_they_know() -> None:
    assert text(Notice.ROTATION_DONE, new="002").startswith("Successfully rotated to segment 002")
    gone = text(Notice.ROTATION_GONE_ON, old="001", segment="002")
    assert "already terminated externally, continuing with rotation" in gone
    assert text(Notice.ROTATION_STARTED).startswith("Rotating segment ")


def test_texts_are_plain() -> None:
    for entry in (*ENTRIES.values(), *NOTICES):
        assert entry.text.isascii(), entry.text
        assert not entry.text.endswith(".")
        assert "\n" not in entry.text


@pytest.mark.parametrize(
    ("notice", "level"),
    [
        (Notice.SEGMENT_ENDED, INFO),  # was asked for, or the source announced it
        (Notice.ROTATION_GONE_ON, NOTICE),  # somebody else ended it, and the rotation went on
        (Notice.SEGMENT_DIED, WARNING),  # a surprise, and there is a replacement
        (Notice.STALLED, WARNING),
        (Notice.ROTATION_FAILED, WARNING),
        (Notice.LAUNCH_FAILED, WARNING),
        (Notice.JOIN_FAILED, WARNING),  # tried again; the segments stay
        (Notice.UNJOINED, ERROR),
        (Notice.RECORDING_FAILED, ERROR),
        (Notice.MEDIA_GONE, ERROR),
        (Notice.DISK_LOW, ERROR),  # what is broadcast now is not recorded
    ],
)
def test_levels_say_whether_media_may_be_lost(notice: Notice, level: int) -> None:
    assert priority_of(notice, "signal:9") == level


def test_only_loss_and_orders_that_are_not_followed_are_errors() -> None:
    assert {notice for notice in Notice if priority_of(notice, None) <= ERROR} == {
        Notice.MEDIA_GONE, Notice.DISK_LOW, Notice.RECORDING_FAILED, Notice.UNJOINED,
    }  # fmt: skip
    assert {entry for entry in NOTICES if entry.priority <= ERROR} == {
        notices.DAEMON_FAILED, notices.SETTINGS_REFUSED, notices.SETTINGS_MISTAKEN, notices.STORE_FAILED,
        notices.SYNC_FAILED, notices.ROW_UNREADABLE, notices.STREAMERS_REFUSED,
    }  # fmt: skip


def test_a_shutdown_of_the_machine_surprises_nobody() -> None:
    assert priority_of(Notice.SEGMENT_DIED, "host-shutdown") == NOTICE
    assert priority_of(Notice.SEGMENT_DIED, "oom") == WARNING


def test_nothing_is_told_past_the_catalogue() -> None:
    """A line with a level of its own on stderr would be a notice without a MESSAGE_ID (sd-daemon(3))."""
    told = [
        f"{path.name}: {line.strip()}"
        for path in PACKAGE.rglob("*.py")
        for line in path.read_text().splitlines()
        if re.search(r"""["']<[0-7]>""", line)
    ]
    assert told == []
