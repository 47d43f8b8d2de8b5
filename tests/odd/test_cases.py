# SPDX-License-Identifier: GPL-3.0-or-later
"""Named sources: nothing lost, nothing repeated, no false word."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.odd.account import Account
from tests.odd.report import complaints

TAKES = (
    "av1-kill",
    "av1-mp4",
    "av1-rotate",
    "camera-ts",
    "hevc",
    "hevc-kill",
    "hevc-mp4",
    "hevc-rotate",
    "jump-fmp4",
    "jump-fmp4-kill",
    "lowfps-fmp4",
    "map",
    "map-kill",
    "map-rotate",
    "opus",
    "opus-kill",
    "opus-mp4",
    "opus-rotate",
    "pages-ts",
    "png",
    "png-kill",
    "png-rotate",
    "ptsoutlier-ts",
    "slate-fmp4-kill",
    "ssai-fmp4",
    "ssai-fmp4-rotate",
    "vp9-kill",
    "vp9-rotate",
    "ssai-ts",
    "ssai-ts-rotate",
)


@pytest.mark.integration
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("take", TAKES)
def test_nothing_is_lost(take: str, accounts: Mapping[str, Account]) -> None:
    account = accounts[take]
    assert not account.complaints, complaints(account)
    assert sum(count.found for count in account.counts.values()) > 0
