# SPDX-License-Identifier: GPL-3.0-or-later
"""python3 -m tests.odd: odd sources, drawn or by name, recorded and counted against a perfect client."""

from __future__ import annotations

import argparse
import fnmatch
import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.fakes.ffmpeg import MediaError
from tests.odd.account import Account
from tests.odd.beside import PROGRAMS, BesideError, find
from tests.odd.cases import CASES
from tests.odd.draw import draw, draw_one
from tests.odd.report import as_json, is_good, table
from tests.odd.run import FOLDER, run
from tests.odd.steady import PACES, busy, steady
from tests.odd.take import Take
from tests.testbed.deb import ensure_deb

AT_A_TIME: Final = 10
"""Recordings in one boot: two cores start so many streamlinks within a window."""


def main() -> int:
    """0 when nothing that could be had is lost or repeated, and all words are true."""
    args = _arguments()
    try:
        clients = find([name for name in args.beside.split(",") if name])
        takes = _takes(args)
    except (BesideError, MediaError) as error:
        print(error, file=sys.stderr)
        return 1
    name = "steady" if args.steady else "cases" if args.cases else str(args.seed)
    print(f"SEED={args.seed} N={args.count}" if name == str(args.seed) else "", *takes, sep="\n", flush=True)
    if args.dry_run:
        return 0
    deb = args.deb or ensure_deb()
    accounts: list[Account] = []
    at_a_time = len(PACES) if args.steady else args.at_a_time
    for at in range(0, len(takes), at_a_time):
        with busy(args.busy):
            some = takes[at : at + at_a_time]
            accounts += run(f"{name}-{at}", some, deb, clients=clients, say=lambda text: print(text, flush=True))
        print(table(accounts[at:]), flush=True)
    _save(name, accounts)
    return 0 if is_good(accounts) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python3 -m tests.odd", description=__doc__)
    parser.add_argument("--seed", type=int, help="of what is drawn; by default a random one, which is printed")
    parser.add_argument("--count", type=int, default=AT_A_TIME, help="how many sources are drawn")
    parser.add_argument("--only", help="the drawn ones of these numbers alone, with commas between them")
    parser.add_argument("--cases", help="these instead: names with commas between them; * stands for anything")
    parser.add_argument("--steady", type=int, help="twelve sources with nothing odd instead, of so many seconds")
    parser.add_argument("--busy", type=int, default=0, help="so many processes compute meanwhile")
    parser.add_argument("--at-a-time", type=int, default=AT_A_TIME, help="recordings in one boot")
    parser.add_argument("--beside", default="", help=f"who records the same beside it: {','.join(PROGRAMS)}")
    parser.add_argument("--deb", type=Path, help="the package to install; by default that of this tree")
    parser.add_argument("--dry-run", action="store_true", help="print what would be recorded, and do nothing")
    args = parser.parse_args()
    args.seed = random.randrange(1 << 31) if args.seed is None else args.seed  # noqa: S311
    return args


def _takes(args: argparse.Namespace) -> list[Take]:
    if args.steady:
        return steady(args.steady)
    if args.cases:
        return _named(args.cases)
    if args.only:
        return [draw_one(args.seed, int(number)) for number in args.only.split(",")]
    return draw(args.seed, args.count)


def _named(words: str) -> list[Take]:
    names = [name for word in words.split(",") for name in fnmatch.filter(CASES, word)]
    return [CASES[name]() for name in dict.fromkeys(names)]


def _save(name: str, accounts: Sequence[Account]) -> None:
    file = FOLDER / f"{name}.json"
    file.write_text(json.dumps(as_json(name, accounts), indent=1))
    print(f"ALL {len(accounts)}:", table(accounts), f"the accounts are in {file}", sep="\n")


if __name__ == "__main__":
    sys.exit(main())
