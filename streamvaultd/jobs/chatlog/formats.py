# SPDX-License-Identifier: GPL-3.0-or-later
"""A chat as text, as subtitles (WebVTT, ASS), and as JSON that TwitchDownloader reads. Piece by piece, in order.

What viewers have typed is text, whatever it looks like: in none of these is anything of it a command, or another line.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from streamvaultd.base.zones import rfc3339
from streamvaultd.jobs.chatlog.reading import ChatMessage
from streamvaultd.media.chapters import tidy

SHOWN_MS: Final = 7_000.0
"""How long a message is shown."""

Placed = Iterable[tuple[float, ChatMessage]]

_IN_HTML: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
_IN_ASS: Final = str.maketrans({"{": "\uff5b", "}": "\uff5d", "\\": "\uff3c"})
"""ASS has no way to write these as themselves that every player knows: the wide ones look alike."""

_ASS_HEAD: Final = """\
[Script Info]
ScriptType: v4.00+
PlayResX: 1920
PlayResY: 1080
WrapStyle: 0
Collisions: Normal
ScaledBorderAndShadow: yes

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline, \
StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, Encoding
Style: Chat,sans-serif,34,&H00FFFFFF,&H00FFFFFF,&H80000000,&H80000000,0,0,0,0,100,100,0,0,1,2,0,1,24,1340,24,1

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""


@dataclass(frozen=True, slots=True)
class ChatLabels:
    """What the chat belongs to; `began` in microseconds since 1970, `length` in ms."""

    streamer: str
    channel: str
    recording: int
    title: str
    began: int
    length: float


def as_text(placed: Placed, _facts: ChatLabels) -> Iterator[str]:
    """[H:MM:SS] name: text"""
    for at, message in placed:
        yield f"[{_clock(at, 'text')}] {tidy(message.name)}: {tidy(message.text)}\n"


def as_vtt(placed: Placed, _facts: ChatLabels) -> Iterator[str]:
    """WebVTT, w3.org/TR/webvtt1."""
    yield "WEBVTT\n"
    for at, message in placed:
        said = f"{tidy(message.name)}: {tidy(message.text)}".translate(_IN_HTML)
        yield f"\n{_clock(at, 'vtt')} --> {_clock(at + SHOWN_MS, 'vtt')}\n{said}\n"


def as_ass(placed: Placed, _facts: ChatLabels) -> Iterator[str]:
    """Advanced SubStation Alpha: messages stand on each other, the newest above."""
    yield _ASS_HEAD
    for at, message in placed:
        color = message.color[1:]
        start = f"{{\\c&H{color[4:6]}{color[2:4]}{color[0:2]}&}}" if color else ""
        name, said = (tidy(text).translate(_IN_ASS) for text in (message.name, message.text))
        shown = f"{start}{name}{{\\r}}: {said}"
        yield f"Dialogue: 0,{_clock(at, 'ass')},{_clock(at + SHOWN_MS, 'ass')},Chat,,0,0,0,,{shown}\n"


def as_json(placed: Placed, facts: ChatLabels) -> Iterator[str]:
    """ChatRoot of TwitchDownloader: github.com/lay295/TwitchDownloader."""
    began = _date(facts.began // 1000)
    head: dict[str, Any] = {
        "FileInfo": {"Version": {"Major": 1, "Minor": 4, "Patch": 0}, "CreatedAt": began, "UpdatedAt": began},
        "streamer": {"name": facts.streamer, "login": facts.channel, "id": 0},
        "video": {
            "title": facts.title, "id": str(facts.recording), "created_at": began, "start": 0.0,
            "end": facts.length / 1000, "length": facts.length / 1000, "viewCount": 0, "game": "", "chapters": [],
        },
    }  # fmt: skip
    yield _json(head)[:-1] + ',"comments":['
    separator = "\n"
    for at, message in placed:
        yield separator + _json(_comment(at, message))
        separator = ",\n"
    yield '\n],"embeddedData":null}\n'


FORMATS: Final[Mapping[str, Callable[[Placed, ChatLabels], Iterator[str]]]] = {
    "text": as_text,
    "vtt": as_vtt,
    "ass": as_ass,
    "json": as_json,
}


def _comment(at: float, message: ChatMessage) -> dict[str, Any]:
    tags = message.tags
    bits = tags.get("bits", "")
    return {
        "_id": message.id,
        "created_at": _date(message.moment),
        "channel_id": tags.get("room-id", ""),
        "content_type": "video",
        "content_id": "",
        "content_offset_seconds": round(at / 1000, 3),
        "commenter": {
            "display_name": message.name, "_id": tags.get("user-id", ""), "name": message.login, "bio": None,
            "created_at": "0001-01-01T00:00:00Z", "updated_at": "0001-01-01T00:00:00Z", "logo": None,
        },
        "message": {
            "body": message.text,
            "bits_spent": int(bits) if bits.isascii() and bits.isdecimal() and len(bits) < 10 else 0,
            "fragments": list(_fragments(message)),
            "user_badges": list(_badges(tags.get("badges", ""))),
            "user_color": message.color or None,
            "user_notice_params": {"msg_id": message.notice or None},
            "emoticons": [{"_id": emote, "begin": start, "end": end} for start, end, emote in message.emotes],
        },
    }  # fmt: skip


def _fragments(message: ChatMessage) -> Iterator[dict[str, Any]]:
    behind = 0
    for start, end, emote in message.emotes:
        if behind < start:
            yield {"text": message.text[behind:start], "emoticon": None}
        yield {"text": message.text[start : end + 1], "emoticon": {"emoticon_id": emote}}
        behind = end + 1
    if behind < len(message.text) or not message.emotes:
        yield {"text": message.text[behind:], "emoticon": None}


def _badges(tag: str) -> Iterator[dict[str, str]]:
    for each in tag.split(",") if tag else ():
        name, _, version = each.partition("/")
        yield {"_id": name, "version": version}


def _json(value: object) -> str:
    """Lone surrogates, which no UTF-8 has, are written as escapes; so is all else that is no ASCII."""
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"))


def _date(ms: int) -> str:
    try:
        return rfc3339(ms * 1000)
    except OverflowError:
        return "1970-01-01T00:00:00.000Z"


def _clock(ms: float, kind: str) -> str:
    """A place in the media, as the format has it."""
    whole = max(0, round(ms / 10) * 10 if kind == "ass" else round(ms))
    seconds, rest = divmod(whole, 1000)
    hours, minutes, seconds = seconds // 3600, seconds // 60 % 60, seconds % 60
    if kind == "vtt":
        return f"{hours:02d}:{minutes:02d}:{seconds:02d}.{rest:03d}"
    if kind == "ass":
        return f"{hours}:{minutes:02d}:{seconds:02d}.{rest // 10:02d}"
    return f"{hours}:{minutes:02d}:{seconds:02d}"
