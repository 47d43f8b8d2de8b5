# SPDX-License-Identifier: GPL-3.0-or-later
"""What the broker tells people: to the journal with a MESSAGE_ID, or to the person who started it by hand."""

from __future__ import annotations

import os
import sys
from typing import Final, NamedTuple

ERROR, WARNING = 3, 4


class BrokerNotice(NamedTuple):
    """A message; its text is what happened."""

    message_id: str
    priority: int


REFUSED: Final = BrokerNotice("218678e2681842b4a78d6d631b8b6e2e", WARNING)
"""A call was refused, or systemd refused what it was for."""

FAILED: Final = BrokerNotice("5732747728f84de4afbdb53d10a795b7", ERROR)
"""The broker cannot start, or cannot go on."""


def tell(entry: BrokerNotice, text: str) -> None:
    """Tell it in one line; what a caller invented cannot make it two."""
    line = "".join(char if char.isprintable() else "?" for char in text)
    if "JOURNAL_STREAM" not in os.environ:  # systemd.exec(5): no unit's stderr
        print(line, file=sys.stderr, flush=True)
        return
    from systemd import journal  # only where there is something to tell: a launch need not wait for this import

    journal.send(line, MESSAGE_ID=entry.message_id, PRIORITY=entry.priority, SYSLOG_IDENTIFIER="streamvault-brokerd")
