# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds for tests of all kinds."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# The same examples each time, and as long as they take: how fast a machine is, or what was drawn today, fails no test.
# SV_EXAMPLES=NUMBER tries others, and as many as it says.
settings.register_profile(
    "streamvaultd",
    max_examples=int(os.environ.get("SV_EXAMPLES", "100")),
    deadline=None,
    derandomize="SV_EXAMPLES" not in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("streamvaultd")
