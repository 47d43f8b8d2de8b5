# SPDX-License-Identifier: GPL-3.0-or-later
"""The last files without mistakes: a mistake that is made today holds for nobody, over restarts too. Blocking."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec
import tomli

from streamvaultd.base import durable
from streamvaultd.config import settings, streamers
from streamvaultd.config.settings import Settings
from streamvaultd.core.watching.proxies import Pool
from streamvaultd.core.watching.streamer import Streamer
from streamvaultd.errors import VaultError

MODE: Final = 0o600
"""There may be secrets in the options of streamlink."""

SETTINGS: Final = "settings.last-good"
STREAMERS: Final = "streamers.last-good"


class LastGood:
    """Texts of files by name, kept in one file. One that cannot be read has nothing in it; it is no user's file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._texts: Mapping[str, str] | None = None

    @property
    def texts(self) -> Mapping[str, str]:
        """What was kept last."""
        if self._texts is None:
            try:
                self._texts = msgspec.json.decode(self._path.read_bytes(), type=dict[str, str])
            except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                self._texts = {}
        return self._texts

    def keep(self, texts: Mapping[str, str]) -> None:
        """Keep these in place of what was kept; a disk that refuses them costs the next start its memory, no more."""
        if dict(texts) == self.texts:
            return
        try:
            durable.replace(self._path, msgspec.json.encode(texts), draft=self._path.with_suffix(".new"), mode=MODE)
        except OSError:
            return
        self._texts = dict(texts)


def load_or_last(paths: tuple[Path, ...], last: LastGood) -> tuple[Settings, tuple[VaultError, ...]]:
    """Settings of these files, and all mistakes in them.

    With mistakes they are those of the last files without, where these are known; else what is valid applies, and
    the defaults for the rest.
    """
    texts, unreadable = settings.read(paths)
    found, mistakes = settings.parse(texts)
    if not (unreadable or mistakes):
        last.keep(texts)
        return found, ()
    former, wrong = settings.parse(last.texts)
    return (former if last.texts and not wrong else found), (*unreadable, *mistakes)


def streamers_or_last(
    folders: tuple[Path, Path], before: Mapping[str, Streamer], pools: Mapping[str, Pool], last: LastGood
) -> tuple[dict[str, Streamer], tuple[VaultError, ...]]:
    """As streamers.load(); a streamer whose file has mistakes, and that is not known from `before`, is as its
    last file without mistakes says.
    """
    found, mistakes = streamers.load(folders, before, pools)
    doubtful = streamers.doubtful(mistakes)
    former = {name: text for name, text in last.texts.items() if doubtful is None or Path(name).stem in doubtful}
    for file, text in former.items():
        streamer, wrong = _parsed(file, text, pools)
        if streamer is not None and not wrong and streamer.name not in found:
            found[streamer.name] = replace(streamer, is_ours=Path(file).parent == folders[1])
    last.keep(former | _texts(one.file for one in found.values() if doubtful is not None and one.name not in doubtful))
    return found, mistakes


def _parsed(file: str, text: str, pools: Mapping[str, Pool]) -> tuple[Streamer | None, Sequence[VaultError]]:
    try:
        document = tomli.loads(text)
    except (ValueError, RecursionError):
        return None, ()
    return streamers.parse(document, file, Path(file).stem, pools)


def _texts(files: Iterable[str]) -> dict[str, str]:
    """What is in files; those that cannot be read, or not under the name that is shown of them, are left out."""
    texts = {}
    for file in files:
        with suppress(OSError, ValueError):
            texts[file] = streamers.content(Path(file))
    return texts
