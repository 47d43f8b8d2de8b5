# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a process is in one of our scopes: what runs there asks nothing of us. Reads /proc (cgroups(7))."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from streamvaultd.core.names import JOBS_SLICE, RECORDINGS_SLICE

PROC: Final = Path("/proc")
_GROUP: Final = re.compile(r"^0::(.*)$", re.MULTILINE)


def is_in_scope(pid: int, proc: Path = PROC) -> bool:
    """Whether it is in a scope of a segment or a job; so it is, if that cannot be told: it has ended, say."""
    try:
        groups = (proc / str(pid) / "cgroup").read_text("utf-8", "replace")
    except OSError:
        return True
    match = _GROUP.search(groups)
    return match is None or bool({RECORDINGS_SLICE, JOBS_SLICE} & set(match[1].split("/")))
