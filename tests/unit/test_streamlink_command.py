# SPDX-License-Identifier: GPL-3.0-or-later
"""Options by version, and what must not get into streamlink's configuration."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamvaultd.config.inputs import check_quality, check_url
from streamvaultd.errors import InvalidQuality, InvalidUrl
from streamvaultd.recording.streamlink.command import (
    GUARD,
    Installation,
    Version,
    build_command,
    config_text,
    parse_version,
    preferring,
    secrets_in,
    warning_about,
)

DEBIAN_13 = Version(7, 3, 0)
NEWEST = Version(8, 6, 3)
URL = "https://www.twitch.tv/demo"


def installation(version: Version) -> Installation:
    return Installation(command=("/usr/bin/streamlink",), version=version, python="/usr/bin/python3", managed=False)


@pytest.mark.parametrize(
    ("output", "version"),
    [
        ("streamlink 8.6.3\n", NEWEST),
        ("streamlink 7.3.0", DEBIAN_13),
        ("streamlink 8.5.0+12.g5376d2e", Version(8, 5, 0)),
        ("streamlink 6.10", Version(6, 10)),
        ("Segmentation fault", None),
        ("", None),
    ],
)
def test_versions(output: str, version: Version | None) -> None:
    assert parse_version(output) == version


@pytest.mark.parametrize(("version", "name"), [(DEBIAN_13, "hls-duration"), (NEWEST, "stream-segmented-duration")])
def test_a_run_with_a_limit_ends_after_so_much_media(version: Version, name: str) -> None:
    assert f"{name}=90.500" in config_text(version, URL, "best", limit=90.5).splitlines()
    assert "duration" not in config_text(version, URL, "best")


def test_the_command_line_holds_neither_url_nor_quality() -> None:
    assert build_command(installation(NEWEST), 7) == (
        "/usr/bin/streamlink",
        "--config=/proc/self/fd/7",
        "--stdout",
        "--loglevel=info",
        "--logformat={levelname} {name}: {message}",
        f"--plugin-dir={GUARD}",
        "--no-plugin-sideloading",
        "--no-plugin-cache",
    )


def test_an_older_streamlink_gets_no_options_that_it_does_not_know() -> None:
    assert not [word for word in build_command(installation(DEBIAN_13), 7) if word.startswith("--no-plugin")]
    old, new = config_text(DEBIAN_13, URL, "best"), config_text(NEWEST, URL, "best")
    assert "hls-segment-queue-threshold=10\n" in old
    for text in (old, new):  # what is tried again for longer than a window is worse than what is given up
        assert "stream-segment-attempts=5\n" in text
        assert "stream-segment-threads=4\n" in text
    assert "queue-deadline" not in old
    assert "stream-segmented-queue-deadline=10\n" in new
    assert "queue-threshold" not in new
    broken = config_text(Version(8, 1, 0), URL, "best")
    assert "queue-deadline" not in broken
    assert "queue-threshold" not in broken


def test_the_administrators_options_come_after_ours_and_before_url_and_quality() -> None:
    options = [("stream-timeout", "30"), ("http-no-ssl-verify", "true"), ("twitch-low-latency", "false")]
    lines = config_text(NEWEST, URL, "720p,best", options).splitlines()
    assert lines.index("stream-timeout=60") < lines.index("stream-timeout=30")
    assert "http-no-ssl-verify" in lines
    assert not [line for line in lines if "low-latency" in line]
    assert lines[-2:] == [f"url={URL}", "default-stream=720p,best"]


@pytest.mark.parametrize(
    "url",
    [
        "", " http://host/x", "http://host/x ", "http://host/\nplayer=sh", "http://host/\rx", "http://host/\x0bx",
        "http://host/\x1cx", "http://host/\x85x", "http://host/\u2028x", "http://host/\x00", "http://host/\ud800",
        "x" * 3000, "file:///etc/passwd", "hls://FILE:///etc/passwd", "httpstream://file:///etc/passwd",
    ],
)  # fmt: skip
def test_urls_that_are_more_than_a_line_or_less_than_a_url_are_refused(url: str) -> None:
    with pytest.raises(InvalidUrl):
        check_url(url)


@pytest.mark.parametrize(
    "url",
    [URL, "twitch.tv/demo", "hls://http://127.0.0.1:8000/live.m3u8 verify=False", "https://host/profile:x?a=b#c"],
)
def test_urls_are_taken_as_they_are(url: str) -> None:
    assert check_url(url) == url


@pytest.mark.parametrize("quality", ["", "best\nplayer=sh", " best", "best ", "best,,worst", "a b", "x" * 300])
def test_qualities_that_are_no_list_of_names_are_refused(quality: str) -> None:
    with pytest.raises(InvalidQuality):
        check_quality(quality)


@pytest.mark.parametrize(
    ("first", "asked", "wanted"),
    [
        ("720p60", "best", "720p60,best"),
        ("720p60", "1080p60,720p60,best", "720p60,1080p60,best"),
        ("best", "best", "best"),
        (None, "720p,best", "720p,best"),
        ("no name", "best", "best"),
        ("a,b", "best", "best"),
        ("a\nurl=http://x", "best", "best"),
        ("x" * 255, "best", "best"),
    ],
)
def test_a_quality_is_put_before_those_asked_for_if_it_is_a_name(first: str | None, asked: str, wanted: str) -> None:
    assert preferring(first, asked) == wanted
    check_quality(wanted)


@given(url=st.text(), quality=st.text(), value=st.text())
def test_nothing_gets_a_line_of_its_own(url: str, quality: str, value: str) -> None:
    try:
        text = config_text(NEWEST, url, quality, [("http-header", value)])
    except (InvalidUrl, InvalidQuality, ValueError):
        return
    plain = config_text(NEWEST, "x", "best").splitlines()
    # streamlink reads the file with str.splitlines().
    assert len(text.splitlines()) == len(plain) + (value != "false")
    assert text.splitlines()[-2] == f"url={url}"


def test_credentials_are_struck_out_whole_and_in_parts() -> None:
    options = [
        ("twitch-api-header", "Authorization=OAuth abcdef123456"),
        ("http-proxy", "http://someone:secret-word@proxy:3128"),
        ("stream-timeout", "60"),
    ]
    secrets = secrets_in(options)
    assert {"Authorization=OAuth abcdef123456", "abcdef123456", "secret-word"} <= set(secrets)
    assert not {"60", "3128", "http"} & set(secrets)
    assert list(secrets) == sorted(secrets, key=len, reverse=True)


def test_credentials_are_struck_out_as_urls_have_them_and_in_the_parts_that_errors_quote() -> None:
    secrets = secrets_in([("http-proxy", "http://someone:p%40ss-word@proxy:1"), ("x-password", "geheim wort/1")])
    assert {"p%40ss-word", "p@ss-word", "geheim+wort%2F1", "geheim"} <= set(secrets)
    assert {"planted", "secret"} <= set(secrets_in([("http-proxy", "http://user:planted?secret#x@proxy:1")]))
    assert all("\0" not in text for text in secrets_in([("x-token", "planted%00a")]))


def test_an_old_streamlink_is_a_warning_that_says_what_to_do() -> None:
    assert warning_about(NEWEST, managed=False) is None
    assert "streamvaultctl streamlink install" in (warning_about(DEBIAN_13, managed=False) or "")
    assert "trixie-backports" in (warning_about(DEBIAN_13, managed=False) or "")
    assert "Twitch" not in (warning_about(Version(8, 4), managed=False) or "Twitch")
    assert warning_about(Version(8, 6), managed=False) is None
    assert "streamvaultctl streamlink update" in (warning_about(DEBIAN_13, managed=True) or "")
