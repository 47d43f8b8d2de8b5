# SPDX-License-Identifier: GPL-3.0-or-later
"""A manager with an inbox and recorders of its own."""

from __future__ import annotations

from collections.abc import Callable

from streamvaultd.base.clock import Clock
from streamvaultd.core.model import Recorder
from streamvaultd.recording.inbox import Inbox, Recorders
from streamvaultd.recording.manager import Executor, Manager


def new_manager(executor: Executor, clock: Clock, *listeners: Callable[[Recorder], None]) -> Manager:
    """A manager of nothing yet."""
    inbox = Inbox()
    recorders = Recorders(inbox, clock)
    recorders.listeners += listeners
    return Manager(executor=executor, clock=clock, inbox=inbox, recorders=recorders)
