# SPDX-License-Identifier: GPL-3.0-or-later
"""The benchmark of replacements, small: that it measures what it says. How fast is not asserted."""

from __future__ import annotations

import json

from tests.fakes.livesource import LiveSource
from tests.testbed import latency
from tests.testbed.box import Box


def test_it_measures_both_by_turns(box: Box, source: LiveSource) -> None:
    said: list[str] = []
    found = latency.run(box, source, 3, say=said.append)
    assert json.loads(said[-1])["kills"] == 3
    assert len(said[0].splitlines()) == 4
    for figures in found.values():
        assert 0 < figures["min"] <= figures["median"] <= figures["p95"] <= figures["max"]
    # a replacement is not there before it was needed, and takes longer than the measuring program alone
    assert found["streamvaultd"]["min"] > found["stamp"]["min"]
    assert len(latency.stamps(box, "streamvaultd")) == 6
    assert len(latency.stamps(box, "systemd")) == 4
