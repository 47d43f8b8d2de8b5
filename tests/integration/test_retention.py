# SPDX-License-Identifier: GPL-3.0-or-later
"""Retention of the installed daemon: shown, done when asked, told in the journal; a mistaken file removes nothing."""

from __future__ import annotations

import pytest

from tests.fakes.livesource import LiveSource
from tests.integration.harness import SETTINGS, configure
from tests.integration.test_keep import files
from tests.integration.test_watch import WATCH, Watched, pass_segments
from tests.testbed.box import Box

FILE = "/etc/streamvaultd/streamers.d/gina.toml"
REMOVED = "6a1d4c8e92f74b0fb35e7d2a90c6f814"


@pytest.fixture(scope="module", autouse=True)
def _watching(box: Box) -> None:
    configure(box, SETTINGS + WATCH + "[retention]\nkeep_recordings = 1\n")
    box.run(["systemctl", "restart", "streamvaultd"])


def test_the_newest_stays_and_what_is_older_goes(box: Box, source: LiveSource) -> None:
    gina = Watched(box, source, "gina")
    streamer = f'[streamer]\nurl = "{source.url("gina")}"\n'

    def reload(text: str, *, is_right: bool = True) -> None:
        box.write_file(FILE, streamer + text)
        done = box.run(["systemctl", "reload", "streamvaultd"], check=False)
        assert (done.returncode == 0) is is_right

    reload("")
    for count in (1, 2):
        gina.wait("offline")
        live = source.go_live("gina")
        gina.wait("recording")
        pass_segments(box, live, 2)
        source.control("gina", end=True)
        gina.wait_completed(count)
    older, newer = (recording["runtime"]["path"] for recording in gina.recordings())
    box.wait_for(lambda: sorted(files(box, "gina")) == sorted((older, newer)), "their segments are gone")

    reload("[retention]\nkeep_recordings = 0\n", is_right=False)
    asked = ("prune", "--by-retention", "--streamer", "gina")
    refused = gina.ctl.json(*asked)
    assert (refused["pruned"], len(refused["notes"])) == ([], 1)
    reload('[retention]\nkeep_recordings = "infinity"\n')
    assert gina.ctl.json(*asked)["pruned"] == []
    reload("")
    (shown,) = gina.ctl.json(*asked, "--dry-run")["pruned"]
    assert (shown["files"], shown["rule"]) == ([older], "keep_recordings: there are 1 newer ones")
    assert len(files(box, "gina")) == 2
    assert gina.ctl.json(*asked)["pruned"] == [shown]
    assert files(box, "gina") == [newer]

    first, second = gina.recordings()
    assert first["runtime"]["detail"].startswith("its media were not to be kept any longer")
    assert second["runtime"]["path"] == newer
    box.run(["journalctl", "--sync"])
    told = box.run(["journalctl", "-x", f"MESSAGE_ID={REMOVED}", f"STREAMVAULT_RECORDING={first['id']}"]).stdout
    assert "keep_recordings" in told
    gina.ctl("check")
    box.run(["rm", FILE])
    box.run(["systemctl", "reload", "streamvaultd"])
