# SPDX-License-Identifier: GPL-3.0-or-later
"""Which quality a recording asks for when what is wanted is not offered."""

from __future__ import annotations

import pytest

from streamvaultd.config.inputs import check_quality
from streamvaultd.core.recording.quality import with_fallback

OFFERED = ("audio_only", "160p", "360p", "480p", "720p60", "1080p60", "worst", "best")


@pytest.mark.parametrize(
    ("wanted", "first"),
    [
        ("1080p60", "1080p60"),
        ("1440p60,720p60", "720p60"),
        ("720p", "480p"),  # 720p60 is more than was asked for
        ("240p", "160p"),
        ("100p", "160p"),  # nothing below: the nearest above
        ("best", "best"),
        ("900p,best", "best"),
        ("source", "source"),  # what has no size has nothing near
    ],
)
def test_nearest(wanted: str, first: str) -> None:
    names = with_fallback(wanted, OFFERED).split(",")
    taken = next((name for name in names if name in OFFERED), names[0])
    assert taken == first
    assert names[: len(wanted.split(","))] == wanted.split(",")


def test_without_a_list_of_what_is_offered_best_is_the_last_resort() -> None:
    assert with_fallback("720p", ()) == "720p,best"


@pytest.mark.parametrize("name", ["480p_é", "480p_" + "x" * 100, "480p_a,b"])
def test_a_name_that_streamlink_could_not_be_given_is_left_out(name: str) -> None:
    assert with_fallback("720p", (name, "360p")) == "720p,360p,best"


def test_the_list_is_no_longer_than_streamlink_may_be_given() -> None:
    wanted = ",".join(f"{100 + number}p_alternate" for number in range(15))
    found = with_fallback(wanted, [f"{300 + number}p60_alternate" for number in range(20)])
    assert found.startswith(f"{wanted},")
    assert check_quality(found) == found
