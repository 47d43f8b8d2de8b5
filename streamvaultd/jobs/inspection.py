# SPDX-License-Identifier: GPL-3.0-or-later
"""Looks whether a media file is sound, in a process of its own: `python3 -m streamvaultd.jobs.inspection`.

The path is on stdin, the verdict as JSON on stdout; the exit status is 0, or 1 with the reason in "error".
"""

from __future__ import annotations

import json
import sys
from typing import Any

from streamvaultd.media.inspect import Inspection, inspect_file


def report(path: str, found: Inspection) -> dict[str, Any]:
    """What was found, as JSON."""
    return {
        "path": path,
        "verdict": found.soundness.value,
        "format": found.container.value.removeprefix("."),
        "bytes": found.size,
        "duration_ms": found.duration_ms,
        "packets": found.packets,
        "count": found.count + found.doubts,
        "problems": [
            {"offset": each.offset, "at_ms": each.at_ms, "kind": each.kind, "text": each.text[:500]}
            for each in found.problems
        ],
    }


def main() -> int:
    """Answer one question."""
    path = sys.stdin.read()
    try:
        answer = report(path, inspect_file(path))
    except OSError as error:
        answer = {"error": error.strerror or str(error)}
    print(json.dumps(answer))
    return 1 if "error" in answer else 0


if __name__ == "__main__":
    sys.exit(main())
