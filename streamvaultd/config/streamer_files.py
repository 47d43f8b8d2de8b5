# SPDX-License-Identifier: GPL-3.0-or-later
"""The streamers' files of the daemon's own folder: written whole, or not at all. Blocking."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import tomli

from streamvaultd.base import durable
from streamvaultd.config.toml_edit import dump, with_key

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
        self._put(name, dump(document))

    def _put(self, name: str, text: str) -> None:
        self._folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        draft = self._folder / f".{name}.new"
        durable.replace(self.path(name), text.encode(), draft=draft, mode=FILE_MODE)

    def change(self, name: str, section: str, key: str, value: Any) -> None:
        """Set one key; all else stays as it is written, comments too, if the text lets that be."""
        text = self.path(name).read_text(encoding="utf-8")
        try:
            self._put(name, with_key(text, section, key, value))
        except ValueError:
            document = tomli.loads(text)
            document.setdefault(section, {})[key] = value
            self.write(name, document)

    def remove(self, name: str) -> None:
        """After this returns the file is gone for good; one that is not there is gone."""
        self.path(name).unlink(missing_ok=True)
        if self._folder.exists():
            durable.sync_folder(self._folder)
