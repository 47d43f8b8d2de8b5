# SPDX-License-Identifier: GPL-3.0-or-later
"""What the daemon holds in memory while a campaign runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from tests.testbed.box import BoxError
from tests.testbed.measure import main_pid, memory_kib

if TYPE_CHECKING:
    from tests.testbed.box import Box

EVERY: Final = 60.0
"""Seconds from one look to the next."""

Looks = Sequence[tuple[int, int]]
"""Seconds since the campaign began, and what the daemon alone holds (KiB of anonymous memory)."""


@contextmanager
def watched(box: Box) -> Iterator[Looks]:
    """Look at the beginning, at the end, and in between."""
    looks: list[tuple[int, int]] = []
    began, is_over = time.monotonic(), threading.Event()

    def look() -> None:
        anonymous = memory_kib(box, main_pid(box, "streamvaultd"))["anonymous"]
        looks.append((round(time.monotonic() - began), anonymous))

    def go_on() -> None:
        while not is_over.wait(EVERY):
            look()

    look()
    watch = threading.Thread(target=go_on, name="memory")
    watch.start()
    try:
        yield looks
    finally:
        is_over.set()
        watch.join()
        with suppress(BoxError, ValueError):  # the daemon is gone: others tell why
            look()
