# SPDX-License-Identifier: GPL-3.0-or-later
"""python3 -m tests.odd: odd sources, recorded and counted against a perfect client."""

from __future__ import annotations

import argparse
import fnmatch
import sys
from pathlib import Path

from tests.odd.beside import PROGRAMS, BesideError, find
from tests.odd.cases import CASES
from tests.odd.report import is_good, table
from tests.odd.run import run
from tests.testbed.deb import ensure_deb


def main() -> int:
    """0 when nothing that could be had is lost or repeated, and all words are true."""
    parser = argparse.ArgumentParser(prog="python3 -m tests.odd", description=__doc__)
    parser.add_argument("--cases", help="names of cases, with commas between them; * stands for anything")
    parser.add_argument("--beside", default="", help=f"who records the same beside it: {','.join(PROGRAMS)}")
    parser.add_argument("--deb", type=Path, help="the package to install; by default that of this tree")
    parser.add_argument("--dry-run", action="store_true", help="print what would be recorded, and do nothing")
    args = parser.parse_args()
    names = [name for word in args.cases.split(",") for name in fnmatch.filter(CASES, word)]
    takes = [CASES[name]() for name in dict.fromkeys(names)]
    print(*takes, sep="\n", flush=True)
    if args.dry_run:
        return 0
    try:
        clients = find([name for name in args.beside.split(",") if name])
    except BesideError as error:
        print(error, file=sys.stderr)
        return 1
    deb = args.deb or ensure_deb()
    accounts = run("cases", takes, deb, clients=clients, say=lambda text: print(text, flush=True))
    print(table(accounts))
    return 0 if is_good(accounts) else 1


if __name__ == "__main__":
    sys.exit(main())
