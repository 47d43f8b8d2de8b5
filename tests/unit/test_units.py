# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of units and descriptors, spans and sizes: what is written is read back, and nothing else is read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamvaultd.base import units

RECORDINGS = st.integers(1, 9_999_999_999)
NUMBERS = st.integers(1, 999_999)


@given(RECORDINGS, NUMBERS)
def test_names_are_read_back(recording: int, number: int) -> None:
    assert units.parse_segment_unit(units.segment_unit(recording, number)) == (recording, number)
    assert units.parse_segment_fd_name(units.segment_fd_name(recording, number)) == (recording, number)
    assert units.parse_job_unit(units.job_unit(recording)) == recording
    assert units.parse_job_fd_name(units.job_fd_name(recording)) == recording


def test_names_are_those_that_people_see() -> None:
    assert units.segment_unit(348, 2) == "streamvault-348-002.scope"
    assert units.job_unit(12) == "streamvault-job-12.scope"
    assert units.segment_fd_name(348, 2) == "exit-348-2"
    assert units.job_fd_name(12) == "exit-job-12"


@pytest.mark.parametrize("name", [
    "", "streamvault-348-2.scope", "streamvault-0-001.scope", "streamvault-348-002.service", "streamvault-a-001.scope",
    "streamvault-348-002.scope\n", " streamvault-348-002.scope", "streamvault-٣-001.scope", "init.scope",
    "streamvault-348.scope", "exit-0-1", "exit-348", "exit-job-0", "exit-job-x", "streamvault-job-0.scope", "varlink",
])  # fmt: skip
def test_other_names_are_not_ours(name: str) -> None:
    assert units.parse_segment_unit(name) is None
    assert units.parse_job_unit(name) is None
    assert units.parse_segment_fd_name(name) is None
    assert units.parse_job_fd_name(name) is None


@pytest.mark.parametrize(("text", "usec"), [
    ("23h58m48s", 86_328_000_000), ("5", 5_000_000), ("90min", 5_400_000_000), ("2h 30min", 9_000_000_000),
    ("1.5s", 1_500_000), ("20ms", 20_000), ("7us", 7), ("1w 1d", 691_200_000_000), ("0", 0),
    (" 3 seconds ", 3_000_000),
])  # fmt: skip
def test_spans(text: str, usec: int) -> None:
    assert units.parse_span(text) == usec


@pytest.mark.parametrize("text", ["", "  ", "h", "5 parsecs", "-1s", "1e3", "11 w 999999d", "10s!", "٣s", "1..5s"])
def test_what_is_no_span(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        units.parse_span(text)


@pytest.mark.parametrize(("usec", "text"), [
    (0, "0ms"), (7, "7us"), (20_000, "20ms"), (1_000_000, "1s"), (86_328_000_000, "23h 58min 48s"),
    (90_061_000_000, "1d 1h 1min"), (60_000_000, "1min"),
])  # fmt: skip
def test_spans_as_systemd_prints_them(usec: int, text: str) -> None:
    assert units.format_span(usec) == text


@given(st.integers(0, 86_399))
def test_spans_are_read_back(seconds: int) -> None:
    assert units.parse_span(units.format_span(seconds * 1_000_000)) == seconds * 1_000_000


@pytest.mark.parametrize(("text", "size"), [
    ("100G", 100 << 30), ("256M", 256 << 20), ("1.5K", 1536), ("0", 0), ("7", 7), ("1TiB", 1 << 40), ("2 MB", 2 << 20),
])  # fmt: skip
def test_sizes(text: str, size: int) -> None:
    assert units.parse_size(text) == size


@pytest.mark.parametrize("text", ["", "G", "-1", "1X", "1e6", "٣M", "1 000", "1GG"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="number"):
        units.parse_size(text)


@pytest.mark.parametrize(("size", "text"), [
    (0, "0B"), (1023, "1023B"), (1024, "1.0K"), (1536, "1.5K"), (100 << 30, "100.0G"), (3 << 50, "3.0P"),
])  # fmt: skip
def test_sizes_as_systemd_prints_them(size: int, text: str) -> None:
    assert units.format_size(size) == text
