# SPDX-License-Identifier: GPL-3.0-or-later
"""The streamers' files of the daemon's own folder: written whole, or not at all. Blocking."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import tomli

from streamvaultd.base import durable

FILE_MODE: Final = 0o640


class StreamerFiles:
    """Writes and removes NAME.toml in one folder, made at need. Raises OSError; ValueError: no TOML."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, name: str) -> Path:
        """Where a streamer's file is."""
        return self._folder / f"{name}.toml"

    def write(self, name: str, document: Mapping[str, Mapping[str, Any]]) -> None:
        """After this returns the file is there, whole, across a power loss too."""
        self._folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        draft = self._folder / f".{name}.new"
        durable.replace(self.path(name), dump(document).encode(), draft=draft, mode=FILE_MODE)

    def change(self, name: str, section: str, key: str, value: Any) -> None:
        """Set one key; the others stay, comments go."""
        document = tomli.loads(self.path(name).read_text(encoding="utf-8"))
        document.setdefault(section, {})[key] = value
        self.write(name, document)

    def remove(self, name: str) -> None:
        """After this returns the file is gone for good; one that is not there is gone."""
        self.path(name).unlink(missing_ok=True)
        if self._folder.exists():
            durable.sync_folder(self._folder)


def dump(document: Mapping[str, Mapping[str, Any]]) -> str:
    """TOML of sections with keys, as streamvaultd.streamer(5) has them."""
    lines = ["# Written by streamvaultd; see streamvaultd.streamer(5)."]
    for section, content in document.items():
        lines += ["", f"[{section}]", *(f"{_key(key)} = {_value(value)}" for key, value in content.items())]
    return "\n".join(lines) + "\n"


def _key(key: str) -> str:
    is_bare = key.isascii() and key.replace("-", "").replace("_", "").isalnum()
    return key if is_bare else _quoted(key)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case Mapping():
            return "{ " + ", ".join(f"{_key(key)} = {_value(inner)}" for key, inner in value.items()) + " }"
        case list() | tuple():
            return "[" + ", ".join(map(_value, value)) + "]"
        case str():
            return _quoted(value)
        case _:
            return str(value)
