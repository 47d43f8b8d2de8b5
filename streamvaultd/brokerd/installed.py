# SPDX-License-Identifier: GPL-3.0-or-later
"""Hooks: which units of the administrator the broker starts, and the file with what they get to know.

A hook is a template that root installed, `streamvault-hook-NAME@.service` in /etc/systemd/system or
/usr/lib/systemd/system. The caller chooses among those, and chooses no word of what they execute. The facts are the
caller's, and are nothing but text to the broker, which is the only one that can write where systemd reads them.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from streamvaultd.core.names import HookUnit
from streamvaultd.errors import InvalidParameter, NameRefused, SystemdError

INSTALLED: Final = (Path("/etc/systemd/system"), Path("/usr/lib/systemd/system"))
FACTS_MAX: Final = 48 << 10  # bytes; a message has 64 KiB at most
INACTIVE: Final = "inactive"
_WRITABLE: Final = stat.S_IWGRP | stat.S_IWOTH


def check_call(hook: str, call: int) -> HookUnit:
    """The unit of a call, put together from its checked parts."""
    found = HookUnit.checked(hook, call)
    if found is None:
        raise NameRefused(value=f"{hook[:100]}@{call}", why="it is not the name of a hook and the number of a call")
    return found


def check_facts(text: str) -> bytes:
    """The facts as they are written: one JSON object."""
    try:
        found, data = json.loads(text), text.encode()
    except (ValueError, RecursionError):
        raise InvalidParameter(parameter="facts") from None
    if not isinstance(found, dict) or len(data) > FACTS_MAX:
        raise InvalidParameter(parameter="facts")
    return data


def check_installed(unit: HookUnit, properties: Mapping[str, Any], installed: Iterable[Path] = INSTALLED) -> None:
    """Check what systemd says of a unit: root has installed it, and its end can be told later.

    Every file that it is made of lies in one of the folders, and root alone can change it or put another one there.
    """
    if properties["LoadState"] != "loaded":
        raise NameRefused(value=unit.unit, why=f"its template is not installed ({properties['LoadState']})")
    if properties["Id"] != unit.unit:
        raise NameRefused(value=unit.unit, why="it is another name of a unit")
    folders = tuple(installed)
    for name in (properties["FragmentPath"], *properties["DropInPaths"]):
        why = why_not_installed(Path(name), folders)
        if why is not None:
            raise NameRefused(value=unit.unit, why=f"{name[:300]} {why}")
    if properties["Transient"]:
        raise NameRefused(value=unit.unit, why="it is transient")
    if properties["Type"] != "oneshot" or not properties["RemainAfterExit"]:
        raise NameRefused(value=unit.unit, why="it needs Type=oneshot and RemainAfterExit=yes")


def why_not_installed(file: Path, folders: Iterable[Path], owner: int = 0) -> str | None:
    """Why root has not installed this file, None if root has; links are followed first."""
    try:
        real = file.resolve(strict=True)
        folder = next((folder for folder in folders if real.is_relative_to(folder.resolve())), None)
        if folder is None:
            return "is not in " + " or ".join(map(str, folders))
        within = [real, *(each for each in real.parents if each.is_relative_to(folder.resolve()))]
        found = [each.lstat() for each in within]
    except (OSError, RuntimeError) as error:
        return f"cannot be read: {error}"
    if not stat.S_ISREG(found[0].st_mode):
        return "is not a file"
    if any(each.st_uid != owner or each.st_mode & _WRITABLE for each in found):
        return "can be changed by others than root"
    return None


class Facts:
    """The files of facts; the folder is systemd's (RuntimeDirectory=), and root's alone."""

    def __init__(self, folder: Path = Path(HookUnit.FACTS)) -> None:
        self._folder = folder

    def write(self, unit: HookUnit, data: bytes) -> None:
        """It is there whole, or not at all."""
        draft = self._folder / f".{unit.call}"
        try:
            draft.unlink(missing_ok=True)
            fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o400)
            with os.fdopen(fd, "wb") as file:
                file.write(data)
            draft.rename(self._folder / Path(unit.facts).name)
        except OSError as error:
            raise SystemdError(verb="start", unit=unit.unit, error="facts", why=str(error)) from error

    def remove(self, unit: HookUnit) -> None:
        """It may be gone already."""
        (self._folder / Path(unit.facts).name).unlink(missing_ok=True)
