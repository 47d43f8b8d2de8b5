# SPDX-License-Identifier: GPL-3.0-or-later
"""python3 -m tests.chaos --seed N --minutes M [--recordings N]: run a fault campaign and print its account."""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
from pathlib import Path

from tests.chaos.campaign import Campaign, as_json, media_for
from tests.chaos.report import is_good, table
from tests.chaos.schedule import WINDOW, Schedule, draw
from tests.fakes.livesource import LiveSource
from tests.integration.harness import save_reports
from tests.testbed import layers, setup
from tests.testbed.box import Box
from tests.testbed.deb import ensure_deb

FOLDER = setup.PROJECT / "build" / "chaos"


def main() -> int:
    """0 when everything that must be 0 is."""
    parser = argparse.ArgumentParser(prog="python3 -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="of the schedule; by default a random one")
    parser.add_argument("--minutes", type=float, default=4.0, help="of faults; some more pass until all is joined")
    parser.add_argument("--recordings", type=int, default=3)
    parser.add_argument("--deb", type=Path, help="the package to install; by default that of this tree")
    parser.add_argument("--schedule", action="store_true", help="print the schedule, and do nothing")
    args = parser.parse_args()
    seed = random.randrange(1 << 31) if args.seed is None else args.seed  # noqa: S311
    schedule = draw(seed, args.minutes, args.recordings)
    print(f"SEED={seed} MINUTES={args.minutes:g} RECORDINGS={args.recordings}: {len(schedule.faults)} faults")
    if args.schedule:
        print(*schedule.faults, sep="\n")
        return 0
    return campaign(schedule, args.deb or ensure_deb())


def campaign(schedule: Schedule, deb: Path) -> int:
    """Run it in a box of its own, save and print its account."""
    folder = FOLDER / str(schedule.seed)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "schedule.txt").write_text("\n".join(str(fault) for fault in schedule.faults) + "\n")
    spec = media_for(schedule)
    with (
        LiveSource(spec, window=round(WINDOW / spec.segment)) as source,
        Box(f"chaos-{os.getpid()}", layers.installed(deb)) as box,
    ):
        try:
            result = Campaign(box, source, schedule, folder, say=lambda text: print(text, flush=True)).run()
        except BaseException:
            save_reports(box, folder)
            raise
        file = FOLDER / f"{schedule.seed}.json"
        file.write_text(json.dumps(as_json(result), indent=1))
        print(table(result))
        if is_good(result):
            return 0
        save_reports(box, folder)
        print(f"FAILED: SEED={schedule.seed} repeats it; journal and reports are in {folder}, the account is {file}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
