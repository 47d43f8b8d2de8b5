# SPDX-License-Identifier: GPL-3.0-or-later
"""What people and files may give: one rule each, whichever way it comes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from streamvaultd.config import inputs, keys
from streamvaultd.config.kinds import Unfit
from streamvaultd.errors import DirectoryUnusable, InvalidDuration, InvalidName, InvalidQuality, VaultError

KINDS = {(each.section, each.key): each.kind for each in keys.OWN}


def refusal(read: Any, value: object) -> str | None:
    """Why a value is refused, None if it is not."""
    try:
        read(value)
    except VaultError as error:
        return str(error.fields["why"])
    except Unfit as error:
        return str(error)
    return None


@pytest.mark.parametrize(
    ("key", "check", "values"),
    [
        ("url", inputs.check_url, ("https://a.example/1", "twitch.tv/a b", "file:///etc/passwd", "a\nb", "x" * 2049)),
        ("quality", inputs.check_quality, ("720p,best", "a,,b", "a b", "q" * 256, "q" * 257, "a;" * 200)),
        ("directory", inputs.check_directory, ("/srv/x y", "srv", "/srv/../x", "/srv/a\nb", "/srv/\0", "/srv/\u2028")),
    ],
)
def test_a_file_and_a_caller_are_refused_for_the_same_reason(key: str, check: Any, values: tuple[str, ...]) -> None:
    section = "recording" if key == "directory" else "streamer"
    refusals = [refusal(check, value) for value in values]
    assert refusals == [refusal(KINDS[section, key].parse, value) for value in values]
    assert refusals[0] is None
    assert None not in refusals[-1:]


def test_a_directory_is_what_it_says() -> None:
    assert inputs.check_directory("/srv/aufnahmen/ä ö") == Path("/srv/aufnahmen/ä ö")
    with pytest.raises(DirectoryUnusable, match="without control characters"):
        inputs.check_directory("/srv/a\nb")


@pytest.mark.parametrize("usec", [0, -1, 999_999, 10 * 365 * 86_400_000_000 + 1])
def test_a_duration_has_its_limits(usec: int) -> None:
    assert inputs.check_duration(1_000_000) == 1.0
    with pytest.raises(InvalidDuration, match="a second at least"):
        inputs.check_duration(usec)


def test_a_refused_value_is_shown_in_part() -> None:
    with pytest.raises(InvalidName) as name:
        inputs.check_name("n" * 100)
    with pytest.raises(InvalidQuality) as quality:
        inputs.check_quality("q" * 1000)
    assert (name.value.fields["value"], quality.value.fields["value"]) == ("n" * 80 + "…", "q" * 80 + "…")


def test_a_name_is_given_or_made_of_the_url() -> None:
    assert inputs.name_for("https://www.twitch.tv/alice", None) == "alice"
    assert inputs.name_for("https://www.twitch.tv/alice", "bob") == "bob"
    with pytest.raises(InvalidName):
        inputs.name_for("https://www.twitch.tv/alice", "")
