# SPDX-License-Identifier: GPL-3.0-or-later
"""Streamers as files: one TOML file each, parsed once into typed values.

/etc/streamvaultd/streamers.d/NAME.toml is the administrator's and wins over NAME.toml in /var/lib/streamvaultd, which
the daemon writes itself. A file with a mistake changes nothing: the streamer stays as it was, and every mistake
is named with file, section, key, value and reason.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import tomli

from streamvaultd.config import keys
from streamvaultd.config.inputs import is_name
from streamvaultd.config.keys import Setting
from streamvaultd.config.kinds import HIDDEN, Unfit, readable, shown
from streamvaultd.config.proxies import expand
from streamvaultd.core.watching.proxies import Pool
from streamvaultd.core.watching.streamer import Filters, Streamer
from streamvaultd.errors import ConfigInvalid, ConfigUnreadable, VaultError

FOLDER: Final = "streamers.d"
STREAMERS_MAX: Final = 2000
"""Files in both folders together."""

FILE_MAX: Final = 64 << 10


NOT_BY_STREAMER: Final[Mapping[str, str]] = {
    "post-processing": '"container" in [recording] says what a joined file is made. For what else is to be done, '
    "'streamvaultctl monitor', events on the socket and the journal say when a recording is complete",
}
"""What people look for in a streamer's file and do not find, and what to do instead; see streamvaultd.streamer(5)."""

_BY_KEY: Final = {(known.section, known.key): known for known in keys.OWN}


def places() -> tuple[tuple[str, str], ...]:
    """Section and key of every setting that a streamer's file may have."""
    return tuple(_BY_KEY)


def parse(
    document: Mapping[str, Any], file: str, name: str, pools: Mapping[str, Pool] | None = None
) -> tuple[Streamer | None, list[VaultError]]:
    """The streamer that a parsed file describes, None if it has mistakes; and those, all of them.

    The pools of proxies that it names are put in their place.
    """
    found: dict[str, dict[str, Any]] = {"": {}, "policy": {}, "filters": {}, "retention": {}}
    wrong = partial(ConfigInvalid, file=file)
    mistakes: list[VaultError] = []
    if not is_name(name):
        mistakes.append(wrong(section="", key="", value=shown(name), why="the file's name is no name of a streamer"))
    for section, content in document.items():
        entries = content.items() if isinstance(content, dict) else [("", content)]
        for key, value in entries:
            try:
                known = _key(section, key)
                where, _, field = known.target.rpartition(".")
                found[where][field] = known.kind.parse(value)
            except ValueError as error:
                mistakes.append(wrong(section=section, key=key, value=_shown(section, key, value), why=str(error)))
    if not mistakes and "url" not in found[""]:
        mistakes.append(wrong(section="streamer", key="url", value="''", why="it must be there"))
    longest, least = found[""].get("max_duration"), found["policy"].get("min_duration", 0)
    if not mistakes and longest is not None and longest < least:
        why = "it must not be more than max_duration: nothing would ever be kept"
        mistakes.append(wrong(section="recording", key="min_duration", value=f"{least:g}", why=why))
    try:
        found[""]["proxies"] = expand(found[""].get("proxies", ()), pools or {})
    except Unfit as error:
        mistakes.append(wrong(section="streamlink", key="proxy", value=HIDDEN, why=str(error)))
    if mistakes:
        return None, mistakes
    policy, retention = (tuple(sorted(found[part].items())) for part in ("policy", "retention"))
    filters = Filters(**found["filters"])
    return Streamer(name=name, file=file, policy=policy, retention=retention, filters=filters, **found[""]), []


def _key(section: str, key: str) -> Setting:
    known = _BY_KEY.get((section, key))
    for word in (section, key) if known is None else ():
        if word.replace("_", "-") in NOT_BY_STREAMER:
            raise Unfit(NOT_BY_STREAMER[word.replace("_", "-")])
    if known is None:
        raise Unfit(f"no such setting; there are {_known(section)}")
    return known


def _known(section: str) -> str:
    named = [known.key for known in keys.OWN if known.section == section]
    return ", ".join(named) if named else "[" + "], [".join(dict.fromkeys(known.section for known in keys.OWN)) + "]"


def _shown(section: str, key: str, value: object) -> str:
    """Values that may hold credentials are not shown; those of settings that there are not may be anything."""
    known = _BY_KEY.get((section, key))
    return HIDDEN if known is None or known.hidden else shown(value)


def load(
    folders: tuple[Path, Path], before: Mapping[str, Streamer], pools: Mapping[str, Pool] | None = None
) -> tuple[dict[str, Streamer], tuple[VaultError, ...]]:
    """All streamers of these folders, the administrator's first, and every mistake.

    A streamer whose file has mistakes, or cannot be read, is as it was `before`, or is left out.
    """
    found: dict[str, Streamer] = {}
    mistakes: list[VaultError] = []
    for folder, is_ours in zip(folders, (False, True), strict=True):
        try:
            files = sorted(file for file in folder.iterdir() if file.suffix == ".toml")
        except FileNotFoundError:
            continue
        except OSError as error:  # must not pass for a folder without files
            mistakes.append(ConfigUnreadable(file=str(folder), why=error.strerror or str(error)))
            continue
        for file in files:
            name = file.stem
            if name in found:
                continue
            if len(found) >= STREAMERS_MAX:
                why = f"there are more than {STREAMERS_MAX} streamers, {readable(file)} and what follows are left out"
                mistakes.append(ConfigUnreadable(file=str(folder), why=why))
                return found, tuple(mistakes)
            streamer, wrong = read(file, pools)
            mistakes += wrong
            kept = before.get(name) if streamer is None else replace(streamer, is_ours=is_ours)
            if kept is not None:
                found[name] = kept
    return found, tuple(mistakes)


def doubtful(mistakes: Iterable[VaultError]) -> frozenset[str] | None:
    """The names of those whose own files have these mistakes; None if it may be anybody's."""
    files = [Path(str(mistake.fields["file"])) for mistake in mistakes]
    return frozenset(file.stem for file in files) if all(file.suffix == ".toml" for file in files) else None


def read(file: Path, pools: Mapping[str, Pool] | None = None) -> tuple[Streamer | None, list[VaultError]]:
    """The streamer in a file, or its mistakes."""
    try:
        document = tomli.loads(content(file))
    except (OSError, ValueError, RecursionError) as error:
        return None, [ConfigUnreadable(file=readable(file), why=_why(error))]
    return parse(document, readable(file), file.stem, pools)


def _why(error: Exception) -> str:
    """Of what is wrong with a file that is named already."""
    return error.strerror or "it cannot be opened" if isinstance(error, OSError) else str(error)


def content(file: Path) -> str:
    """The text of a streamer's file; raises OSError, and ValueError for what is none."""
    with open(file, "rb", opener=_open_now) as opened:
        if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
            raise ValueError("it is no regular file")
        found = opened.read(FILE_MAX + 1)
    if len(found) > FILE_MAX:
        raise ValueError(f"it has more than {FILE_MAX} bytes")
    return found.decode()


def _open_now(path: str, flags: int) -> int:
    """Without waiting for somebody at the other end of a pipe."""
    return os.open(path, flags | os.O_NONBLOCK)
