# SPDX-License-Identifier: GPL-3.0-or-later
"""What starts, watches and ends segments, around as much of a world as a test gives it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from streamvaultd.base.lanes import Lanes
from streamvaultd.jobs.looks import Looks
from streamvaultd.recording.footage import Footage
from streamvaultd.recording.headroom import Headroom
from streamvaultd.recording.segments import Captures
from streamvaultd.recording.witnesses import Witnesses
from tests.component.store_world import SetClock
from tests.fakes.parts import Posted

NOBODY = cast("Any", None)


class NothingHeld:
    """No file has lost its name."""

    def size(self, _unit: str) -> None: ...

    def restoring(self, _unit: str, _path: Path, *, is_over: bool) -> Callable[[], None]:
        assert is_over in (True, False)
        return _do_nothing

    def release(self, _unit: str) -> None: ...


def _do_nothing() -> None:
    return


class Studio:
    """`inbox` has what became of it."""

    def __init__(
        self,
        *,
        inbox: Posted | None = None,
        files: Any = NOBODY,
        media: Any = NOBODY,
        capture: Any = NOBODY,
        runs: Any = NOBODY,
        disk: Any = NOBODY,
        memory: Any = NOBODY,
        journal: Any = NOBODY,
    ) -> None:
        """`media` is what watches files and syncs them."""
        self.inbox = Posted() if inbox is None else inbox
        base: dict[str, Any] = {"inbox": self.inbox, "clock": SetClock()}
        link = cast("Any", SimpleNamespace(is_down=False))
        self.witnesses = Witnesses(**base, runs=runs, disk=disk, link=link)
        self.footage = Footage(
            **base,
            files=files,
            lanes=Lanes(),
            media=media,
            writeback=media,
            held=cast("Any", NothingHeld()),
            looks=Looks(),
        )
        self.headroom = Headroom(disk=disk, memory=memory)
        self.captures = Captures(
            **base, capture=capture, runs=runs, headroom=self.headroom, footage=self.footage,
            witnesses=self.witnesses, journal=journal,
        )  # fmt: skip
