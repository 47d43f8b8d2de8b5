# SPDX-License-Identifier: GPL-3.0-or-later
"""Remotes of rclone as settings have them: NAME:PATH, and nothing that could be a secret or an option."""

from __future__ import annotations

import re
from typing import Any, Final

from streamvaultd.config.kinds import SettingKind, Unfit, listed, texts

REMOTES_MAX: Final = 8
REMOTE_CHARS_MAX: Final = 500

_REMOTE: Final = re.compile(r"[\w.+@]+(?:[ -]+[\w.+@-]+)*:[^:]*")
"""A name as rclone takes it (fs/fspath of rclone, remoteNameRe), which begins with no dash, and a path."""


def remotes(value: Any) -> tuple[str, ...]:
    """Where results are uploaded to; none is an answer, too."""
    found = texts(value)
    if found is None or len(found) > REMOTES_MAX:
        raise Unfit(f'it must be a list of at most {REMOTES_MAX} remotes, such as ["nas:recordings"]')
    for remote in found:
        if remote.startswith(":") or "," in remote.partition(":")[0]:
            raise Unfit(
                "it must not say how a remote is reached, for others may read this file: put that into the "
                "credential 'rclone.conf', and NAME:PATH here"
            )
        is_path = ".." not in remote.partition(":")[2].split("/")
        if not _REMOTE.fullmatch(remote) or not remote.isprintable() or not is_path or len(remote) > REMOTE_CHARS_MAX:
            raise Unfit('it must be a list of remotes of rclone as NAME:PATH, such as ["nas:recordings"]')
    return tuple(dict.fromkeys(remote.rstrip("/") for remote in found))


REMOTES: Final = SettingKind(remotes, f"list of at most {REMOTES_MAX} remotes, as NAME:PATH", listed)
