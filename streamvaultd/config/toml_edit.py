# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes one key of a TOML text; comments, order and all else stay as somebody wrote them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

import tomli

_HEADER: Final = re.compile(r"\s*\[")


def with_key(text: str, section: str, key: str, value: Any) -> str:
    """The text with this value of a key; None takes the key away.

    Raises ValueError for what is no TOML, or is written in a way that no line can be changed of.
    """
    document = tomli.loads(text)
    wanted = {name: dict(content) if isinstance(content, dict) else content for name, content in document.items()}
    if value is None:
        wanted.get(section, {}).pop(key, None)
    else:
        wanted.setdefault(section, {})[key] = value
    changed = _changed(text, section, key, None if value is None else f"{key_of(key)} = {value_of(value)}")
    if tomli.loads(changed) != wanted:
        raise ValueError(f"[{section}] {key} is written in a way that no single line of it can be changed")
    return changed


def _changed(text: str, section: str, key: str, entry: str | None) -> str:
    lines = [f"{line}\n" for line in text.removesuffix("\n").split("\n")] if text else []
    begin, end = _section(lines, section)
    if begin is None:
        return (
            "".join(lines)
            if entry is None
            else "".join([*lines, *(["\n"] if lines else []), f"[{section}]\n{entry}\n"])
        )
    place = next((at for at in range(begin, end) if _is_key(lines[at], key)), None)
    if place is None:
        while end > begin and lines[end - 1].strip()[:1] in ("", "#"):  # what is above the next section is its
            end -= 1
        return "".join([*lines[:end], *([] if entry is None else [f"{entry}\n"]), *lines[end:]])
    after, comment = _value_end(lines, place, end)
    new = [] if entry is None else [f"{entry}{'  ' if comment else ''}{comment}\n"]
    return "".join([*lines[:place], *new, *lines[after:]])


def _section(lines: list[str], section: str) -> tuple[int | None, int]:
    """The lines below its header."""
    header = re.compile(rf"\s*\[\s*[\"']?{re.escape(section)}[\"']?\s*\]\s*(?:#.*)?$")
    begin = next((at + 1 for at, line in enumerate(lines) if header.match(line)), None)
    if begin is None:
        return None, len(lines)
    return begin, next((at for at in range(begin, len(lines)) if _HEADER.match(lines[at])), len(lines))


def _is_key(line: str, key: str) -> bool:
    return re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=", line) is not None


def _value_end(lines: list[str], place: int, end: int) -> tuple[int, str]:
    """The line after a value, which may have several, and the comment behind it."""
    for after in range(place + 1, end + 1):
        text = "".join(lines[place:after]).rstrip()
        for mark in (*(found.start() for found in re.finditer("#", text)), len(text)):
            if _is_whole(text[:mark]):
                return after, text[mark:]
    raise ValueError("a value of it has no end")


def _is_whole(text: str) -> bool:
    try:
        tomli.loads(text)
    except tomli.TOMLDecodeError:
        return False
    return True


def dump(document: Mapping[str, Mapping[str, Any]]) -> str:
    """TOML of sections with keys, as streamvaultd.streamer(5) has them."""
    lines = ["# Written by streamvaultd; see streamvaultd.streamer(5)."]
    for section, content in document.items():
        lines += ["", f"[{section}]", *(f"{key_of(key)} = {value_of(value)}" for key, value in content.items())]
    return "\n".join(lines) + "\n"


def key_of(key: str) -> str:
    """A key as TOML writes it."""
    is_bare = key.isascii() and key.replace("-", "").replace("_", "").isalnum()
    return key if is_bare else _quoted(key)


def value_of(value: Any) -> str:
    """A value as TOML writes it, on one line."""
    match value:
        case bool():
            return "true" if value else "false"
        case Mapping():
            return "{ " + ", ".join(f"{key_of(key)} = {value_of(inner)}" for key, inner in value.items()) + " }"
        case list() | tuple():
            return "[" + ", ".join(map(value_of, value)) + "]"
        case str():
            return _quoted(value)
        case _:
            return str(value)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
