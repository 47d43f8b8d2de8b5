# SPDX-License-Identifier: GPL-3.0-or-later
"""python3 -m tests.seams --rotations N --kills N: rotations and kills at random instants, each frame counted."""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

from tests.seams.plan import draw, draw_soak
from tests.seams.report import is_good, table
from tests.seams.run import FOLDER, run
from tests.testbed.deb import ensure_deb


def main() -> int:
    """0 when no frame was lost or repeated that should not have been, and all seams are as they should be."""
    parser = argparse.ArgumentParser(prog="python3 -m tests.seams", description=__doc__)
    parser.add_argument("--rotations", type=int, default=20, help="of transport streams and fragmented MP4")
    parser.add_argument("--kills", type=int, default=20, help="likewise, each with an outage")
    parser.add_argument("--hours", type=float, help="a soak: at least so many of media, the changes spread over them")
    parser.add_argument("--speed", type=float, default=3.0, help="of a soak: seconds of media for each on the clock")
    parser.add_argument("--seed", type=int, help="of the plan; by default a random one, which is printed")
    parser.add_argument("--deb", type=Path, help="the package to install; by default that of this tree")
    parser.add_argument("--dry-run", action="store_true", help="print the plan, and do nothing")
    args = parser.parse_args()
    seed = random.randrange(1 << 31) if args.seed is None else args.seed  # noqa: S311
    plan = (
        draw_soak(seed, args.rotations, args.kills, args.hours, args.speed)
        if args.hours
        else draw(seed, args.rotations, args.kills)
    )
    print(f"SEED={seed} ROTATIONS={args.rotations} KILLS={args.kills}: {len(plan.takes)} recordings")
    if args.dry_run:
        print(*(f"{take.name}: {step}" for take in plan.takes for step in take.steps), sep="\n")
        return 0
    accounts = run(plan, args.deb or ensure_deb(), say=lambda text: print(text, flush=True))
    print(table(accounts))
    print(f"the account is in {FOLDER / f'{seed}.json'}")
    if is_good(accounts):
        return 0
    print(f"FAILED with SEED={seed}; the journal and other reports are in {FOLDER / str(seed)}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
