# SPDX-License-Identifier: GPL-3.0-or-later
"""Nothing is called before a removal."""

from __future__ import annotations

from streamvaultd.core.model import Recorder


class NoHooks:
    """In the place of jobs/after/hook_caller.py."""

    async def before_prune(self, _recorder: Recorder) -> str | None:
        return None
