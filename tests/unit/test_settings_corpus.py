# SPDX-License-Identifier: GPL-3.0-or-later
"""Every key with good and bad values: what is accepted, what comes of it, what is refused, and in which words."""

from __future__ import annotations

from itertools import zip_longest

from tests.unit import corpus


def test_the_same_is_accepted_and_refused_as_ever() -> None:
    """Where a change is meant, `python -m tests.unit.corpus` writes the record anew, and the diff shows it."""
    pairs = zip_longest(corpus.text().splitlines(), corpus.FILE.read_text(encoding="utf-8").splitlines())
    assert [pair for pair in pairs if pair[0] != pair[1]][:20] == []
