# SPDX-License-Identifier: GPL-3.0-or-later
"""An upgrade under way: `python3 -m tests.testbed.upgrade --from REVISION [--recordings N]`.

A box has the package of an earlier revision, and records that many broadcasts. The package of this tree is installed
over it, in their middle. The segments have to run on, and in the end every frame has to be in the results, once.
"""

from __future__ import annotations

import argparse
import sys

from tests.fakes.livesource import LiveSource
from tests.integration.fleet import Fleet
from tests.integration.harness import configure
from tests.testbed import layers
from tests.testbed.box import Box
from tests.testbed.deb import ensure_deb, ensure_deb_of

NAME = "upgrade"
PACKAGE = "/root/streamvaultd.deb"
VERSION = ["dpkg-query", "--show", "--showformat=${Version} ${db:Status-Status}", "streamvaultd"]
DAEMON = ["systemctl", "show", "--property=MainPID", "--value", "streamvaultd.service"]
PACE = 4
"""Media segments that pass before the upgrade, and after it."""


def watch(box: Box, source: LiveSource, fleet: Fleet) -> None:
    """Let some of each broadcast pass."""
    for name in fleet.names:
        goal = source.state(name)["last"] + PACE
        box.wait_for(lambda name=name, goal=goal: source.state(name)["last"] >= goal, f"{name} goes on", timeout=60)  # type: ignore[misc]


def upgrade(revision: str, size: int) -> None:
    """Raises an AssertionError where something changes that must not."""
    old, new = ensure_deb_of(revision), ensure_deb()
    with LiveSource() as source, Box(NAME, layers.installed(old)) as box:
        configure(box)
        box.run(["systemctl", "restart", "streamvaultd"])
        fleet = Fleet(box, source, NAME, size)
        fleet.record()
        print(f"{size} recordings run: {box.run(VERSION).stdout}, of {revision}", flush=True)
        watch(box, source, fleet)
        before, daemon = fleet.identities(), box.run(DAEMON).stdout

        box.path(PACKAGE).write_bytes(new.read_bytes())
        box.run(["dpkg", "--install", PACKAGE], timeout=180)
        assert box.run(DAEMON).stdout not in (daemon, "0\n"), "the new daemon does not run"
        fleet.wait_steady()
        assert fleet.identities() == before, "segments have changed"
        print("upgraded: another daemon, the same segments", flush=True)

        watch(box, source, fleet)
        fleet.end_well()
        deaths = [fleet.ctl.recording(name)["runtime"]["deaths"] for name in fleet.names]
        assert deaths == [0] * size, deaths
        print(f"every frame of {size} recordings is there, once", flush=True)


def main() -> int:
    """0 when all of it held."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="revision", default="949561f", help="as git knows it (default: %(default)s)")
    parser.add_argument("--recordings", type=int, default=5, metavar="N")
    args = parser.parse_args()
    try:
        upgrade(args.revision, args.recordings)
    except AssertionError as error:
        print(f"FAILED: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
