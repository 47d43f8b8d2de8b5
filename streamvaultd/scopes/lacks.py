# SPDX-License-Identifier: GPL-3.0-or-later
"""What this machine cannot keep from what is recorded: found by trying, for `status`, the journal and people."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Final

from streamvaultd.scopes import confine
from streamvaultd.scopes.scratch import SCRATCH, Scratch, small_ones

GROUP: Final = ("233.252.0.1", 9)
"""An address of multicast for documents (RFC 6676), which streamvaultd.service closes; and the port to discard."""

CONTROLLERS: Final = Path("/sys/fs/cgroup/cgroup.controllers")

NETWORKS_OPEN: Final = (
    "systemd closes no networks to units here (IPAddressDeny= has no effect): services of this machine and of its "
    "links can be reached"
)
OLD_GROUPS: Final = (
    "control groups are not those of version 2 alone, and systemd closes networks to units only with these"
)


class Lacks:
    """All of it, as seen from within streamvaultd.service; nothing where all rules hold.

    `always` is found once. `scratch` are the service's scratch folders, of which there may be too few at a time.
    """

    def __init__(self, scratch: Scratch | None = None) -> None:
        self.always = [*confine.lacking(), *([] if are_networks_closed() else [NETWORKS_OPEN])]
        self.scratch = scratch or Scratch(SCRATCH, small_ones())

    @property
    def now(self) -> list[str]:
        """All of it, and what there is too little of."""
        return [*self.always, *self.scratch.trouble()]


def seen_from_outside(controllers: Path = CONTROLLERS) -> list[str]:
    """What can be seen of it without the service's own unit."""
    return [*confine.lacking(), *([] if controllers.exists() else [OLD_GROUPS])]


def are_networks_closed() -> bool:
    """Whether systemd keeps this unit from what its IPAddressDeny= names: a datagram to there is refused.

    Where it is not it goes nowhere either: it may pass no router (its TTL is 0), and takes the loopback interface.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 0)
        out.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
        try:
            out.sendto(b"", GROUP)
        except PermissionError:
            return True
        except OSError:  # no loopback interface, no route: nothing is known
            return False
    return False
