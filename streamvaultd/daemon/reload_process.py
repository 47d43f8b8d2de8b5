# SPDX-License-Identifier: GPL-3.0-or-later
"""ExecReload= of streamvaultd.service: asks the daemon to read its files again, and fails if they have mistakes.

A service that reloads by itself on a signal (Type=notify-reload) can only tell systemd that it has done so; the exit
status of this is what "systemctl reload" ends with. While it runs systemd starts no new daemon for one that has died:
so it ends with the daemon at the latest. It prints no mistakes: the daemon has told the journal.
"""

from __future__ import annotations

import os
import select
import sys
import threading
from typing import Final

from streamvaultd.errors import RECORDER, VaultError
from streamvaultd.varlink.client import Client

SOCKET: Final = f"/run/streamvaultd/{RECORDER}"


def main() -> int:
    """1: there are mistakes, or nobody answered."""
    try:
        daemon = os.pidfd_open(int(os.environ["MAINPID"]))
        threading.Thread(target=_end_with, args=(daemon,), daemon=True).start()
        answer = Client(SOCKET).call(f"{RECORDER}.Reload")
    except (OSError, VaultError) as error:
        sys.stderr.write(f"cannot reload: {error}\n")
        return 1
    return 1 if answer["mistakes"] else 0


def _end_with(daemon: int) -> None:
    select.select([daemon], [], [])
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
