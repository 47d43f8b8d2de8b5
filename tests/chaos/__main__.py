# SPDX-License-Identifier: GPL-3.0-or-later
"""python3 -m tests.chaos --seed N --minutes M [--recordings N]: run a fault campaign and print its account."""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

from tests.chaos.report import is_good, table
from tests.chaos.run import SLOWNESS, account_file, plan, reports_folder, run
from tests.testbed.deb import ensure_deb


def main() -> int:
    """0 when everything that must be 0 is."""
    parser = argparse.ArgumentParser(prog="python3 -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, help="of the schedule; by default a random one, which is printed")
    parser.add_argument("--minutes", type=float, default=4.0, help="of faults; some more pass until all is joined")
    parser.add_argument("--recordings", type=int, default=3)
    parser.add_argument("--machine", choices=list(SLOWNESS), default="box", help="a vm runs out of memory, too")
    parser.add_argument(
        "--postgres", action="store_true", help="with a catalogue in PostgreSQL, to which things are done, too"
    )
    parser.add_argument("--deb", type=Path, help="the package to install; by default that of this tree")
    parser.add_argument("--dry-run", action="store_true", help="print the schedule, and do nothing")
    args = parser.parse_args()
    seed = random.randrange(1 << 31) if args.seed is None else args.seed  # noqa: S311
    schedule = plan(seed, args.minutes, args.recordings, args.machine, postgresql=args.postgres)
    print(f"SEED={seed} MINUTES={args.minutes:g} RECORDINGS={args.recordings}: {len(schedule.faults)} faults")
    if args.dry_run:
        print(*schedule.faults, sep="\n")
        return 0
    deb = args.deb or ensure_deb()
    result = run(schedule, deb, machine=args.machine, say=lambda text: print(text, flush=True))
    print(table(result))
    print(f"the account is in {account_file(schedule)}")
    if is_good(result):
        return 0
    print(f"FAILED with SEED={seed}; the journal and other reports are in {reports_folder(schedule)}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
