# SPDX-License-Identifier: GPL-3.0-or-later
"""Streamers' files: what is in them, what is wrong with them, and that what the daemon writes reads back the same."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
import tomli
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamvaultd.config import streamers
from streamvaultd.config.streamer_files import StreamerFiles
from streamvaultd.config.streamlink_options import RESERVED_OPTIONS
from streamvaultd.config.toml_edit import dump
from streamvaultd.core.model import Policy
from streamvaultd.core.watching.streamer import Filters, Streamer, site_of

DOCS = Path(__file__).parents[2] / "docs"

WHOLE = """
[streamer]
url = "https://www.twitch.tv/alice"
enabled = false
quality = ["1080p60", "720p"]
interval = "1min"
[recording]
directory = "/srv/alice"
filename = "{streamer} {recording}"
grace = "5min"
max_duration = "2h"
[rotation]
size = "1G"
[limits]
memory_max = "300M"
[filters]
title_include = "speedrun|tas"
days = ["sun", "fri"]
hours = "18:00-02:30"
timezone = "Europe/Berlin"
stop_on_change = true
[streamlink]
options = { twitch-supported-codecs = "h264,h265", http-no-ssl-verify = true }
"""


def put(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / f"{name}.toml"
    file.write_text(text)
    return file


@pytest.fixture(name="folders")
def _folders(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path / "etc", tmp_path / "var"


def test_a_file_with_everything(folders: tuple[Path, Path]) -> None:
    file = put(folders[0], "alice", WHOLE)
    found, mistakes = streamers.load(folders, {})
    assert mistakes == ()
    alice = found["alice"]
    filters = Filters(
        title_include="speedrun|tas", days=(4, 6), hours=(1080, 150), timezone="Europe/Berlin", stop_on_change=True
    )
    assert alice == Streamer(
        name="alice", url="https://www.twitch.tv/alice", file=str(file), enabled=False, quality="1080p60,720p",
        interval=60.0, directory="/srv/alice", filename="{streamer} {recording}", max_duration=7200.0,
        policy=(("grace", 300.0), ("memory_max", 300 << 20), ("rotate_size", 1 << 30)), filters=filters,
        options=(("twitch-supported-codecs", "h264,h265"), ("http-no-ssl-verify", "true")),
    )  # fmt: skip
    assert alice.policy_on(Policy()) == replace(Policy(), grace=300.0, memory_max=300 << 20, rotate_size=1 << 30)


def test_every_mistake_is_told_at_once_with_its_place(folders: tuple[Path, Path]) -> None:
    file = put(
        folders[0],
        "bob",
        """
typo = 1
[streamer]
url = 7
enabled = "yes"
quality = "best of all"
[filters]
title_include = "(("
days = ["someday"]
hours = "25:00-26:00"
timezone = "Mars/Olympus"
[rotations]
age = "10d"
""",
    )
    found, mistakes = streamers.load(folders, {})
    assert found == {}
    places = [(error.fields["file"], error.fields["section"], error.fields["key"]) for error in mistakes]
    assert places == [
        (str(file), section, key)
        for section, key in (
            ("typo", ""), ("streamer", "url"), ("streamer", "enabled"), ("streamer", "quality"),
            ("filters", "title_include"), ("filters", "days"), ("filters", "hours"), ("filters", "timezone"),
            ("rotations", "age"),
        )
    ]  # fmt: skip
    assert "no such setting; there are [streamer], [recording]" in str(mistakes[-1])


def test_what_is_too_short_to_be_kept_must_leave_something(folders: tuple[Path, Path]) -> None:
    head = "[streamer]\nurl = 'https://a.example/1'\n[recording]\n"
    put(folders[0], "alice", head + "min_duration = '2min'\n")
    file = put(folders[0], "bob", head + "min_duration = '2min'\nmax_duration = 60\n")
    found, mistakes = streamers.load(folders, {})
    assert found["alice"].policy_on(Policy()) == replace(Policy(), min_duration=120.0)
    assert Policy().min_duration == 0
    (mistake,) = mistakes
    assert mistake.fields["file"] == str(file)
    assert "nothing would ever be kept" in str(mistake)


def test_a_bad_file_changes_its_streamer_not_and_no_other(folders: tuple[Path, Path]) -> None:
    put(folders[0], "alice", "[streamer]\nurl = 'https://a.example/1'\n")
    put(folders[0], "bob", "[streamer]\nurl = 'https://a.example/2'\n")
    before, _ = streamers.load(folders, {})
    put(folders[0], "alice", "[streamer\n")
    put(folders[0], "bob", "[streamer]\nurl = 'https://a.example/3'\n")
    after, mistakes = streamers.load(folders, before)
    assert after["alice"] == before["alice"]
    assert after["bob"].url == "https://a.example/3"
    assert [error.fields["file"] for error in mistakes] == [str(folders[0] / "alice.toml")]


def test_the_administrators_file_wins(folders: tuple[Path, Path]) -> None:
    put(folders[0], "alice", "[streamer]\nurl = 'https://etc.example/'\n")
    put(folders[1], "alice", "[streamer]\nurl = 'https://var.example/'\n")
    put(folders[1], "bob", "[streamer]\nurl = 'https://var.example/'\n")
    found, _ = streamers.load(folders, {})
    assert {name: (each.url, each.is_ours) for name, each in found.items()} == {
        "alice": ("https://etc.example/", False),
        "bob": ("https://var.example/", True),
    }


@pytest.mark.parametrize("option", sorted(RESERVED_OPTIONS))
def test_options_that_would_break_capturing_are_refused_with_the_reason(option: str) -> None:
    document = {"streamer": {"url": "https://a.example/"}, "streamlink": {"options": {option: "1"}}}
    found, mistakes = streamers.parse(document, "x.toml", "x")
    assert found is None
    assert RESERVED_OPTIONS[option] in str(mistakes[0])


@pytest.mark.parametrize(
    ("short", "meant"),
    [("outp", "output"), ("loglev", "loglevel"), ("hls-start-off", "hls-start-offset"), ("stdo", "stdout")],
)
def test_what_is_short_for_a_refused_option_is_refused_too(short: str, meant: str) -> None:
    document = {"streamer": {"url": "https://a.example/"}, "streamlink": {"options": {short: "1"}}}
    found, mistakes = streamers.parse(document, "x.toml", "x")
    assert found is None
    assert f"short for '{meant}'" in str(mistakes[0])
    assert RESERVED_OPTIONS[meant] in str(mistakes[0])


@pytest.mark.parametrize("option", ["o", "O", "-output", "--output", "output=x", "", "http proxy", "o" * 101])
def test_what_is_no_long_option(option: str) -> None:
    document = {"streamer": {"url": "https://a.example/"}, "streamlink": {"options": {option: "1"}}}
    found, mistakes = streamers.parse(document, "x.toml", "x")
    assert found is None
    assert "is no long option of streamlink" in str(mistakes[0])


@pytest.mark.parametrize("option", ["ffmpeg-verbose", "hls-live-restart", "retry-open", "stream-types", "http-proxy"])
def test_other_options_are_taken(option: str) -> None:
    document = {"streamer": {"url": "https://a.example/"}, "streamlink": {"options": {option: "1"}}}
    found, mistakes = streamers.parse(document, "x.toml", "x")
    assert found is not None, mistakes
    assert found.options == ((option, "1"),)


@pytest.mark.parametrize("proxy", ["http://user:planted@a:1", "a", "", [], [7], "ftp://a:1"])
def test_proxies_that_are_none_or_hold_a_password(proxy: object) -> None:
    document = {"streamer": {"url": "https://a.example/"}, "streamlink": {"proxy": proxy}}
    found, mistakes = streamers.parse(document, "x.toml", "x")
    assert found is None
    assert "planted" not in str(mistakes[0])


def test_proxies() -> None:
    document = {"streamer": {"url": "https://a.example/"}, "streamlink": {"proxy": ["socks5h://a:1", "direct"]}}
    found, mistakes = streamers.parse(document, "x.toml", "x")
    assert mistakes == []
    assert found is not None
    assert found.proxies == ("socks5h://a:1", "direct")


@pytest.mark.parametrize("word", sorted(streamers.NOT_BY_STREAMER))
def test_what_is_not_set_by_streamer_is_refused_with_what_to_do_instead(word: str) -> None:
    for document in ({word: {"keep": "10d"}}, {"recording": {word: "10d"}}, {word.replace("-", "_"): 7}):
        found, mistakes = streamers.parse({"streamer": {"url": "https://a.example/"}} | document, "x.toml", "x")
        assert found is None
        assert [mistake.fields["why"] for mistake in mistakes] == [streamers.NOT_BY_STREAMER[word]]
    page = (DOCS / "man" / "streamvaultd.streamer.5.rst").read_text()
    assert word in page.split("WHAT IS NOT HERE\n", 1)[1].split("EXAMPLE\n", 1)[0]


HUGE = "0x" + "f" * 5000


@pytest.mark.parametrize(
    "line",
    [
        "[filters]\ntitle_include = 'a{99999999999999999999}'",
        f"[recording]\nmax_duration = {HUGE}",
        f"[recording]\nstart_attempts = {HUGE}",
        f"[rotation]\nsize = {HUGE}",
        f"[streamlink]\noptions = {{ retry-open = {HUGE} }}",
        f"[streamer]\nquality = '{'720p,' * 60}best'",
        '[recording]\ndirectory = "/srv/a\\u0000b"',
        '[recording]\ndirectory = "/srv/a\\nb"',
        "[recording]\nfilename = '{recording:>999999999}'",
        "[recording]\nfilename = '{start:%Q} {recording}'",
        "[recording]\nfilename = '{start:%Y/%m} {recording}'",
        "[recording]\nfilename = '{start:%Y{stream}} {recording}'",
        "[recording]\nfilename = '{title:%Y} {recording}'",
        "[recording]\nfilename = '{recording:%Y}'",
        "[recording]\nfilename = '{title.__class__} {recording}'",
        "[recording]\nfilename = '{streamer} {category}'",
        "[recording]\nfilename = '{recording!x}'",
        f"[recording]\nfilename = '{{recording}} {'ä' * 100}'",
    ],
)
def test_a_value_that_nobody_expects_is_a_mistake_of_its_file_alone(folders: tuple[Path, Path], line: str) -> None:
    head = "" if line.startswith("[streamer]") else "[streamer]\n"
    url = "url = 'https://a.example/'\n"
    put(folders[0], "bob", head + url + line if head else line + "\n" + url)
    put(folders[0], "alice", f"[streamer]\n{url}")
    found, mistakes = streamers.load(folders, {})
    assert list(found) == ["alice"]
    (mistake,) = mistakes
    assert mistake.fields["file"] == str(folders[0] / "bob.toml")
    assert len(str(mistake)) < 600


@pytest.mark.parametrize(
    "text",
    [
        "[streamer]\npassword = 'planted'",
        "[streamlink]\nhttp-proxy = 'http://user:planted@a.example:1'",
        "[streamlink]\nsecrets = ['http-header=Authorization=planted']",
        "token = 'planted'",
        "[twitch]\ntoken = 'planted'",
    ],
)
def test_what_may_be_a_secret_is_not_shown_in_a_mistake(text: str) -> None:
    _, mistakes = streamers.parse(tomli.loads(text), "x.toml", "x")
    assert mistakes
    assert "planted" not in " ".join(map(str, mistakes))


def test_a_pipe_is_not_waited_for(folders: tuple[Path, Path]) -> None:
    put(folders[0], "alice", "[streamer]\nurl = 'https://a.example/'\n")
    os.mkfifo(folders[0] / "bob.toml")
    (folders[0] / "carol.toml").mkdir()
    (folders[0] / "dave.toml").symlink_to("/dev/zero")
    (folders[0] / "erin.toml").symlink_to("nowhere")
    found, mistakes = streamers.load(folders, {})
    assert list(found) == ["alice"]
    names = [Path(str(mistake.fields["file"])).stem for mistake in mistakes]
    assert names == ["bob", "carol", "dave", "erin"]


def test_names_of_files_are_names(folders: tuple[Path, Path]) -> None:
    put(folders[0], "not a name", "[streamer]\nurl = 'https://a.example/'\n")
    found, mistakes = streamers.load(folders, {})
    assert found == {}
    assert "no name of a streamer" in str(mistakes[0])


def test_a_name_of_a_file_that_is_no_text_is_a_mistake_that_can_be_told(folders: tuple[Path, Path]) -> None:
    put(folders[0], "alice", "[streamer]\nurl = 'https://a.example/'\n")
    for content in (b"[streamer]\nurl = 'https://a.example/'\n", b"[streamer\n"):
        (folders[0] / os.fsdecode(b"\xff.toml")).write_bytes(content)
        found, (mistake,) = streamers.load(folders, {})
        assert list(found) == ["alice"]
        assert r"\udcff.toml" in str(mistake)
        assert str(mistake).encode().isascii()


def test_a_url_is_not_shown_in_a_mistake() -> None:
    document = {"streamer": {"url": "file:///etc/shadow?token=planted"}}
    _, mistakes = streamers.parse(document, "x.toml", "x")
    assert "planted" not in str(mistakes[0])


def test_a_file_of_our_own_is_changed_and_removed(tmp_path: Path, folders: tuple[Path, Path]) -> None:
    ours = StreamerFiles(folders[1])
    ours.write("alice", {"streamer": {"url": "https://a.example/", "enabled": True}})
    ours.change("alice", "streamer", "enabled", value=False)
    found, mistakes = streamers.load(folders, {})
    assert (mistakes, found["alice"].enabled, found["alice"].is_ours) == ((), False, True)
    assert ours.path("alice").stat().st_mode & 0o777 == 0o640
    ours.remove("alice")
    ours.remove("alice")
    assert list(folders[1].iterdir()) == []


PLAIN = st.one_of(
    st.booleans(), st.integers(-(2**60), 2**60), st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
)
VALUE = st.one_of(PLAIN, st.lists(PLAIN, max_size=3), st.dictionaries(st.text(max_size=5), PLAIN, max_size=3))


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.dictionaries(st.sampled_from(["url", "a-b", "c_d", "x y", "ä"]), VALUE))
def test_what_is_written_reads_back_the_same(content: dict[str, object]) -> None:
    assert tomli.loads(dump({"streamer": content})) == {"streamer": content}


@pytest.mark.parametrize(
    ("url", "site"),
    [
        ("https://www.Twitch.tv/x", "twitch.tv"),
        ("hls://http://user:pass@host.example:8080/a?b", "host.example"),
        ("twitch.tv/x", "twitch.tv"),
    ],
)
def test_site(url: str, site: str) -> None:
    assert site_of(url) == site


def test_hours_past_midnight_belong_to_the_day_before() -> None:
    evening = Filters(days=(4,), hours=(18 * 60, 150))
    hour = 3_600_000_000
    friday = (1_795_000_000_000_000 // 86_400_000_000 + 2) * 86_400_000_000  # 2026-11-20, 00:00 UTC
    assert evening.refusal("", "", friday + 19 * hour) is None
    assert evening.refusal("", "", friday + 26 * hour) is None  # Saturday, 02:00
    assert evening.refusal("", "", friday + 27 * hour) == "it is outside of its hours"
    assert evening.refusal("", "", friday + 2 * hour) == "it is not one of its days"  # still Thursday's evening
    assert evening.refusal("", "", friday + 17 * hour, offset=3600) is None


def test_patterns() -> None:
    filters = Filters(title_include="run", title_exclude="rerun", category_include="^chess$")
    assert filters.refusal("Speedrun", "Chess", 0) is None
    assert filters.refusal("a RERUN", "Chess", 0) == "its title matches title_exclude"
    assert filters.refusal("talk", "Chess", 0) == "its title does not match title_include"
    assert filters.refusal("run", "Chess 960", 0) == "its category does not match category_include"
