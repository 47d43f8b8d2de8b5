# SPDX-License-Identifier: GPL-3.0-or-later
"""Uploads of the installed daemon: its credential, the unit's filters, a remote that is away, and what prune says."""

from __future__ import annotations

import pytest

from tests.fakes.livesource import LiveSource
from tests.integration.harness import SETTINGS, configure
from tests.integration.test_keep import files
from tests.integration.test_watch import WATCH, Watched, pass_segments
from tests.testbed.box import Box

PASSWORD = "pw-93ab61c4f0"  # noqa: S105 - of a test
SERVER = ["rclone", "serve", "webdav", "/srv/nas", "--addr", "127.0.0.1:8099", "--user", "vault", "--pass", PASSWORD]
CREDENTIALS = "/run/planted-rclone"
DROP_IN = "/etc/systemd/system/streamvaultd.service.d/rclone.conf"
UPLOAD = '[upload]\nremotes = ["nas:rec"]\n'


@pytest.fixture(scope="module", autouse=True)
def _watching(box: Box) -> None:
    """systemd passes no credentials in a box: a folder stands in for what it makes."""
    obscured = box.run(["rclone", "obscure", PASSWORD]).stdout.strip()
    section = f"[nas]\ntype = webdav\nurl = http://127.0.0.1:8099\nvendor = other\nuser = vault\npass = {obscured}\n"
    box.write_file(f"{CREDENTIALS}/rclone.conf", section)
    box.run(["chown", "-R", "_streamvault", CREDENTIALS])
    box.run(["chmod", "-R", "u=rX,go=", CREDENTIALS])
    box.write_file(DROP_IN, f"[Service]\nEnvironment=CREDENTIALS_DIRECTORY={CREDENTIALS}\n")
    box.run(["systemctl", "daemon-reload"])
    box.run(["mkdir", "-p", "/srv/nas"])
    configure(box, SETTINGS + WATCH + UPLOAD)
    box.run(["systemctl", "restart", "streamvaultd"])


def test_what_a_remote_has_not_yet_stays_and_what_it_has_may_go(box: Box, source: LiveSource) -> None:
    hugo = Watched(box, source, "hugo")
    box.write_file("/etc/streamvaultd/streamers.d/hugo.toml", f'[streamer]\nurl = "{source.url("hugo")}"\n')
    box.run(["systemctl", "reload", "streamvaultd"])
    hugo.wait("offline")
    live = source.go_live("hugo")
    hugo.wait("recording")
    pass_segments(box, live, 2)
    source.control("hugo", end=True)
    hugo.wait_completed(1)
    (recording,) = hugo.recordings()
    number, path = str(recording["id"]), recording["runtime"]["path"]

    def why() -> str:
        return str(hugo.ctl("status", number).stdout)

    box.wait_for(lambda: "connection refused" in why(), "the remote is away, and that is told", timeout=60)
    refused = hugo.ctl("prune", number, "--yes", check=False)
    assert refused.returncode == 1
    assert "it is not uploaded yet (nas:rec: " in refused.stdout + refused.stderr
    assert files(box, "hugo") == [path]

    box.run(["systemd-run", "--unit=nas", "--collect", *SERVER])
    there = "/srv/nas/rec/hugo/" + path.rpartition("/")[2]
    box.wait_for(lambda: "upload: done" in why(), "it is tried again, and is there", timeout=180)
    box.run(["cmp", path, there])
    said = box.run(["journalctl", "--boot", "--output=export", "--unit=streamvaultd*"]).stdout
    secret = box.run(["sed", "-n", "s/^pass = //p", f"{CREDENTIALS}/rclone.conf"]).stdout.strip()
    assert "connection refused" in said
    assert secret not in said
    assert PASSWORD not in said

    hugo.ctl("prune", number, "--yes")
    assert files(box, "hugo") == []
    assert f"nas:rec/hugo/{there.rpartition('/')[2]}" in why()
    box.run(["test", "-s", there])
