# SPDX-License-Identifier: GPL-3.0-or-later
"""What is shown to everybody who may look."""

from __future__ import annotations

import pytest

from streamvaultd.base.redaction import redact_url


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://host/a?quality=best&t=5", "https://host/a?quality=best&t=5"),
        ("https://user:p@ss@host:8080/a", "https://***@host:8080/a"),
        ("hls://https://user:pass@host/a.m3u8", "hls://https://***@host/a.m3u8"),
        ("httpstream://user@host", "httpstream://***@host"),
        ("https://host/@name?at=a@b", "https://host/@name?at=a@b"),
        (
            "https://host/a?access_token=x&X-Amz-Signature=y&b=1",
            "https://host/a?access_token=***&X-Amz-Signature=***&b=1",
        ),
        ("https://host/a?apikey=x;token=y", "https://host/a?apikey=***;token=***"),
        ("https://host/a#access_token=x&b=1", "https://host/a#access_token=***&b=1"),
        ("https://host/a;session=x/b?c=1", "https://host/a;session=***?c=1"),
        ("https://host/a?t%6Fken=x", "https://host/a?t%6Fken=***"),
        ("https://host/a?to=https://other/?token=x", "https://host/a?to=https://other/?token=***"),
        ("https://[bad/?key=x", "https://[bad/?key=***"),
    ],
)
def test_a_url_is_shown_without_what_is_secret_in_it(url: str, shown: str) -> None:
    assert redact_url(url) == shown
