# SPDX-License-Identifier: GPL-3.0-or-later
"""Scratch folders: each run has one of its own, on a small file system of its own as long as there are any.

streamvaultd.service has `/tmp/scratch`, and below it small file systems with limits of their own, whose names are
numbers. A run that fills the one that it was given takes nothing from another run. What finds none free, and browsers,
which write more, share the room of `/tmp/scratch` itself.

A daemon that begins has new ones, for itself alone: what an earlier daemon gave to runs that go on is in that daemon's
mount namespace, and ends with them. So nothing has to be remembered over a restart.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from threading import Lock
from typing import Final

from streamvaultd.scopes import shim

SCRATCH: Final = Path("/tmp/scratch")  # noqa: S108 - the unit's own, see streamvaultd.service


def small_ones(folder: Path = SCRATCH) -> list[Path]:
    """The small file systems that the unit has."""
    try:
        places = sorted(place for place in folder.iterdir() if place.name.isdigit())
    except OSError:  # not in the unit
        return []
    return [place for place in places if os.path.ismount(place)]


class Scratch:
    """Who has which. `shared` is a folder for all that have none of the `small` ones. Used by several threads."""

    def __init__(self, shared: Path, small: Iterable[Path] = ()) -> None:
        self._shared = shared
        self._small = tuple(small)
        self._given: dict[str, Path] = {}
        self._sharing: set[str] = set()
        self._lock = Lock()

    def give(self, run: str, *, is_browser: bool) -> Path:
        """The scratch folder of a run, which its starter has to make. A small file system has one run, or none."""
        with self._lock:
            if not is_browser and run not in self._given:
                taken = set(self._given.values())
                free = next((place for place in self._small if place not in taken and _is_empty(place)), None)
                if free is None:
                    self._sharing.add(run)
                else:
                    self._given[run] = free
            return self._given.get(run, self._shared) / run

    def take_back(self, run: str) -> None:
        """Remove the scratch folder of a run of which no process is left; mostly its shim has done so."""
        shim.remove(str(self._given.get(run, self._shared) / run))
        with self._lock:
            self._sharing.discard(run)
            self._given.pop(run, None)

    def trouble(self) -> list[str]:
        """What people have to know of it; nothing while each run has one of its own."""
        count = len(self._sharing)
        if not count:
            return []
        return [
            f"{count} more than the {len(self._small)} small scratch folders are in use: these share one, and any of "
            "them can fill it, so that the others cannot record what has to be muxed"
        ]


def _is_empty(place: Path) -> bool:
    """Whether the run before has left nothing: no process of it has a file open any more."""
    try:
        return not any(place.iterdir())
    except OSError:
        return False
