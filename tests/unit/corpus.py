# SPDX-License-Identifier: GPL-3.0-or-later
"""What files may say and may not: every key with every one of these values, and what comes of it.

`python -m tests.unit.corpus` writes settings.txt anew; what differs in it then is a change that users see.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from datetime import date
from pathlib import Path
from typing import Any

from streamvaultd.config import keys, settings, streamers
from streamvaultd.config.kinds import shown
from streamvaultd.config.settings import Settings
from streamvaultd.core.model import Container, Policy
from streamvaultd.core.upkeep.retention import RetentionRules
from streamvaultd.core.watching.proxies import Pool
from streamvaultd.core.watching.streamer import Streamer
from streamvaultd.errors import VaultError

FILE = Path(__file__).with_name("settings.txt")

VALUES: tuple[Any, ...] = (
    True, False, 0, 1, 7, 8, 100, 101, 1000, 1001, 4096, 4097, 1_000_000, 1_000_001, -1, 1.5,
    float("nan"), date(2026, 1, 1), "", " ", "0", "499ms", "500ms", "999ms", "1s", "4s", "5s", "9s", "10s",
    "300s", "301s", "59min", "1h", "3601s", "1d", "86401s", "30d", "31d", "3650d", "3651d", "one hour", "1048575",
    "1M", "63M", "64M", "256M", "64G", "65G", "1024T", "1025T", "1X", "infinity", "best", "1080p60,720p",
    "1080p, 720p", "a,,b", "q" * 257, ["720p", "best"], ["720p", 1], "received", "mp4", "mkv", "root", "group",
    "/srv/x", "srv/x", "/srv/../x", "/srv/a\nb", ["/usr/lib/x"], ["x"], "/srv/m.prom", "/srv/m.txt",
    "{streamer}_{recording}",
    "{recording:06d}", "{recording", "{nobody}{recording}", "{streamer}", "a/{recording}", ".{recording}",
    "{recording:x}", "{recording!r}", "x" * 200 + "{recording}", [], ["10.0.0.0/8"], "127.0.0.1", ["10.0.0.1/8"],
    ["nowhere"], ["::1"] * 33, {}, {"http-timeout": 20}, {"http-no-ssl-verify": True}, {"stdout": True},
    {"hls-live": 3}, {"X": 1}, {"http-header": "a\nb"}, {"http-header": [1]}, {"http-header": "a" * 4097},
    ["streamlink", "-4"], ["", ""], ["phone"], "phone", ["phone", "phone"], ["mailto://a:b@c"], ["a b"],
    ["n" + str(n) for n in range(21)], ["completed", "live"], ["nothing"], "direct", "http://proxy:3128",
    "socks5h://proxy:1080/", "http://proxy", "http://u:p@proxy:1", ["http://a:1", "eu", "direct"], ["eu"], "empty",
    "none", "https://www.twitch.tv/alice", "file:///etc/passwd", "https://a\tb/", " https://a/",
    "https://a/" + "b" * 2048, "postgresql://u@h/d", "postgres:///d", "postgresql://u:p@h/d", "postgresql://h:x/d",
    "mysql://h/d", "unix:/run/m", "unix:m", "unix:/" + "m" * 107, "127.0.0.1:9464", "[::1]:9464", "0.0.0.0:9464",
    "127.0.0.1:0", "127.0.0.1:65536", "a|b", "((", "p" * 201, ["mon", "sun"], ["someday"], "18:00-02:30",
    "25:00-26:00", "18:00-18:00", "00:00-24:00", "Europe/Berlin", "Mars/Olympus", "UTC",
)  # fmt: skip

SHORT = 60
LONG = 3
"""A shorter value is not found again in the words that refuse it."""

STRANGE = (
    ("settings", "proxies.eu", "urls"), ("settings", "proxies.eu", "secrets"), ("settings", "proxies.eu", "more"),
    ("settings", "proxies.a b", "urls"), ("settings", "proxies.direct", "urls"), ("settings", "proxies", "eu"),
    ("settings", "recording", "colour"), ("settings", "colours", "red"), ("settings", "watch", "enabled"),
    ("streamer", "recording", "colour"), ("streamer", "recording", "post_processing"),
    ("streamer", "post-processing", "run"), ("streamer", "colours", "red"), ("streamer", "network", "allow"),
    ("streamer", "sync_interval", ""), ("settings", "recording", ""),
)  # fmt: skip
POOLS = {"eu": Pool(urls=("http://eu:3128",), secrets=("more",)), "empty": Pool()}
CHANGED = Settings(
    policy=Policy(grace=0.0, rotate_age=90.5, rotate_size=1 << 20, container=Container.MP4),
    retention=RetentionRules(keep_for=86400.0, keep_recordings=3, keep_size=(1 << 30) + 1),
    streamlink_options=(("http-timeout", "20"), ("http-header", "a=b")), streamlink_command=("streamlink", "-4"),
    network_allow=("127.0.0.0/8", "::1/128"), notify=("phone", "team"), events=(), disk_floor=0, pools=POOLS,
)  # fmt: skip
PLAIN = Streamer(name="alice", url="https://a.example/1", file="alice.toml")


def places() -> Iterator[tuple[str, str, str]]:
    """Which file, section and key."""
    yield from (("settings", option.section, option.key) for option in keys.GENERAL)
    yield from (("streamer", option.section, option.key) for option in keys.OWN)
    yield from STRANGE


def outcomes(file: str, section: str, key: str) -> Mapping[str, list[int]]:
    """What comes of the values, and of which; changes are those against the defaults."""
    found: dict[str, list[int]] = {}
    for number, value in enumerate(VALUES):
        content = {key: value} if key else value
        document = {"proxies": {section[8:]: content}} if section.startswith("proxies.") else {section: content}
        outcome = _in_settings(document, value) if file == "settings" else _in_streamer(document, value)
        found.setdefault(outcome.replace("cannot load x.toml: ", ""), []).append(number)
    return found


def _in_settings(document: Mapping[str, Any], value: Any) -> str:
    before = Settings(pools=POOLS)
    found, mistakes = settings.apply(before, document, "x.toml")
    return _refusal(mistakes, value) or _changes(found, before, value)


def _in_streamer(document: dict[str, Any], value: Any) -> str:
    document.setdefault("streamer", {})
    if isinstance(document["streamer"], dict):
        document["streamer"].setdefault("url", PLAIN.url)
    found, mistakes = streamers.parse(document, "alice.toml", "alice", POOLS)
    return _refusal(mistakes, value) or _changes(found, PLAIN, value)


def _refusal(mistakes: list[VaultError], value: Any) -> str:
    if not mistakes:
        return ""
    told = "; ".join(str(mistake) for mistake in mistakes).replace(f"= {shown(value)}:", "= VALUE:")
    return "refused: " + (told.replace(str(value), "VALUE") if len(str(value)) > LONG else told)


def _changes(found: object, before: Settings | Streamer | Policy, value: Any) -> str:
    names = [each.name for each in fields(before)]
    pairs = ((name, getattr(found, name), getattr(before, name)) for name in names)
    changed = {name: new if name != "policy" else _policy(new) for name, new, old in pairs if new != old}
    told = ", ".join(f"{name}={'VALUE' if new == value else repr(new)}" for name, new in changed.items())
    return told or "as before"


def _policy(found: Any) -> object:
    """What is not as by default."""
    return _changes(found, Policy(), None) if isinstance(found, Policy) else found


def text() -> str:
    """All of it: the values by number, then what comes of them."""
    lines = [f"{number}: {repr(value)[:SHORT]}" for number, value in enumerate(VALUES)]
    for file, section, key in sorted(places()):
        lines.append(f"{file} [{section}] {key}")
        lines += [f"  {_ranges(numbers)}: {outcome}" for outcome, numbers in outcomes(file, section, key).items()]
    lines += [f"shown: [{option.section}] {option.key} = {told}" for option, told in settings.in_force(CHANGED)]
    return "\n".join(lines) + "\n"


def _ranges(numbers: list[int]) -> str:
    found: list[list[int]] = []
    for number in numbers:
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in found)


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
