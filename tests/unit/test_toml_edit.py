# SPDX-License-Identifier: GPL-3.0-or-later
"""One key of a text is changed, and nothing else of what somebody wrote."""

from __future__ import annotations

from typing import Any

import pytest
import tomli
from hypothesis import given
from hypothesis import strategies as st

from streamvaultd.config.toml_edit import dump, with_key

TEXT = """\
# Ada, who plays on Sundays
[streamer]
url = "https://site.example/ada#live"  # the new address
enabled = true # for now

# [streamer] is above
[filters]
title = [
    "chess",  # and nothing else
    "go",
]
"""


@pytest.mark.parametrize(
    ("section", "key", "value", "before", "after"),
    [
        ("streamer", "enabled", False, "enabled = true # for now", "enabled = false  # for now"),
        ("streamer", "url", "https://x/#y", 'url = "https://site.example/ada#live"  #', 'url = "https://x/#y"  #'),
        ("streamer", "quality", ["720p", "best"], "# for now\n", '# for now\nquality = ["720p", "best"]\n'),
        ("streamer", "enabled", None, "enabled = true # for now\n", ""),
        ("filters", "title", ["go"], '[\n    "chess",  # and nothing else\n    "go",\n]', '["go"]'),
        ("filters", "category", "Chess", '"go",\n]\n', '"go",\n]\ncategory = "Chess"\n'),
        ("recording", "max_duration", "2h", '"go",\n]\n', '"go",\n]\n\n[recording]\nmax_duration = "2h"\n'),
        ("recording", "max_duration", None, "", ""),
    ],
)
def test_the_rest_stays_as_it_is_written(section: str, key: str, value: Any, before: str, after: str) -> None:
    assert with_key(TEXT, section, key, value) == TEXT.replace(before, after, 1)


@pytest.mark.parametrize(
    "text",
    ["streamer.enabled = true\n", "streamer = { enabled = true }\n", 'a = """\n[streamer]\nenabled = true\n"""\n'],
)
def test_what_no_line_can_be_changed_of_is_said_to_be_so(text: str) -> None:
    with pytest.raises(ValueError, match=r"no single line|Cannot declare|cannot be changed"):
        with_key(text, "streamer", "enabled", value=False)


def test_an_empty_text_gets_a_section() -> None:
    assert with_key("", "streamer", "enabled", value=False) == "[streamer]\nenabled = false\n"
    assert with_key("[streamer]", "streamer", "enabled", value=False) == "[streamer]\nenabled = false\n"


KEYS = st.sampled_from(["url", "url_2", "max-duration", "a"])
VALUES = st.one_of(st.booleans(), st.integers(-9, 9), st.text(max_size=9), st.lists(st.text(max_size=5), max_size=3))


@given(
    document=st.dictionaries(st.sampled_from(["a", "b-c", "d"]), st.dictionaries(KEYS, VALUES, max_size=4)),
    key=KEYS,
    value=st.one_of(st.none(), VALUES),
)
def test_it_means_what_was_asked_for(document: dict[str, dict[str, Any]], key: str, value: Any) -> None:
    text = dump(document)
    wanted = {name: dict(content) for name, content in document.items()}
    if value is None:
        wanted.get("a", {}).pop(key, None)
    else:
        wanted.setdefault("a", {})[key] = value
    assert tomli.loads(with_key(text, "a", key, value)) == wanted
