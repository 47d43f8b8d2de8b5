# SPDX-License-Identifier: GPL-3.0-or-later
"""Spans and sizes: what is written is read back, and nothing else is read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamvaultd.base import units


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
