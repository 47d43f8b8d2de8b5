# SPDX-License-Identifier: GPL-3.0-or-later
"""Ends what may take for ever: a regular expression, which nothing else ends from within."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn


class TookTooLong(Exception):
    """What was begun was given up."""


@contextmanager
def cpu_limit(seconds: float) -> Iterator[None]:
    """Raises TookTooLong in what takes more of the processor. For the main thread; only for what changes nothing."""
    before = signal.signal(signal.SIGVTALRM, _give_up)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _give_up(_number: int, _frame: FrameType | None) -> NoReturn:
    raise TookTooLong
