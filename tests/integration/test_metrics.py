# SPDX-License-Identifier: GPL-3.0-or-later
"""Metrics of the installed service, with Debian's prometheus-client, inside its sandbox."""

from __future__ import annotations

import re

import pytest

from tests.fakes.livesource import LiveSource
from tests.integration.harness import SETTINGS, Ctl, configure, streamlink_pid
from tests.integration.stories import ends_well, kill, wait_segments
from tests.testbed.box import Box
from tests.testbed.deb import PROJECT

pytestmark = pytest.mark.timeout(1500)  # a package is fetched

SOCKET = "/run/streamvaultd/metrics"
TEXTFILE = "/var/lib/streamvaultd/streamvaultd.prom"
METRICS = f'[metrics]\nlisten = "unix:{SOCKET}"\ntextfile = "{TEXTFILE}"\n'
# What Prometheus would do: no tool of the base system asks over a Unix socket.
ASK = f"""
import http.client, socket
connection = http.client.HTTPConnection("localhost")
connection.sock = socket.socket(socket.AF_UNIX)
connection.sock.connect("{SOCKET}")
connection.request("GET", "/metrics")
print(connection.getresponse().read().decode(), end="")
"""


def samples(text: str) -> dict[str, float]:
    """Each sample, by its name with its labels."""
    lines = (line for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def asked(box: Box) -> dict[str, float]:
    """What the service answers now."""
    return samples(box.run(["python3", "-c", ASK]).stdout)


@pytest.fixture(scope="module", autouse=True)
def metrics(box: Box) -> None:
    """The package only recommends what is needed, so that a box has it not; the service is told to use it."""
    install = "apt-get update -q && apt-get install -qy --no-install-recommends python3-prometheus-client"
    box.run(["sh", "-ec", install], timeout=600)
    configure(box, SETTINGS + METRICS)
    box.run(["systemctl", "restart", "streamvaultd"])


def test_a_death_is_seen_from_outside(box: Box, ctl: Ctl, source: LiveSource, channel: str) -> None:
    before = asked(box)
    assert before["streamvaultd_store_up"] == 1
    assert before['streamvaultd_deaths_total{cause="signal"}'] == 0
    ctl("record", source.url(channel), "--name", channel)
    recording = ctl.recording(channel)["id"]
    kill(box, "KILL", streamlink_pid(box, f"streamvault-{recording}-001.scope"))
    wait_segments(box, ctl, channel, ["signal:9", None])
    once = (
        'streamvaultd_deaths_total{cause="signal"}',
        "streamvaultd_restart_seconds_count",
        "streamvaultd_segments_running",
        'streamvaultd_recordings{status="recording"}',
    )
    box.wait_for(lambda: {asked(box)[name] for name in once} == {1}, "the death and its replacement are counted")
    box.wait_for(
        lambda: any(name.startswith("streamvaultd_disk_left_seconds") for name in asked(box)), "the disk is told"
    )
    told = {name.partition("{")[0] for name in asked(box)}
    ends_well(box, ctl, source, channel, channel)
    completed = 'streamvaultd_recordings{status="completed"}'
    box.wait_for(lambda: asked(box)[completed] == 1, "the end is counted")
    found = asked(box)
    assert sum(found[f'streamvaultd_seams_total{{kind="{kind}"}}'] for kind in ("exact", "union")) == 1
    shown = set(re.findall(r"streamvaultd_\w+", (PROJECT / "docs" / "grafana" / "streamvaultd.json").read_text()))
    told |= {name.partition("{")[0] for name in found}  # of its disk nothing is told any more
    assert {name for name in shown - told if "catalogue" not in name} == set(), "the dashboard asks for what there is"
    read = ["cat", TEXTFILE]
    box.wait_for(lambda: samples(box.run(read).stdout)[completed] == 1, "the file is written anew", timeout=60)


def test_the_socket_is_for_the_group_and_counters_outlive_the_daemon(box: Box) -> None:
    before = asked(box)
    box.run(["systemctl", "restart", "streamvaultd"])
    after = asked(box)
    assert box.run(["stat", "-c", "%a %G", SOCKET]).stdout.strip() == "660 _streamvault"
    assert box.run(["stat", "-c", "%a", TEXTFILE]).stdout.strip() == "644"
    refused = box.run(["runuser", "-u", "nobody", "--", "python3", "-c", ASK], check=False)
    assert "PermissionError" in refused.stderr
    for counter in ("streamvaultd_received_bytes_total", 'streamvaultd_deaths_total{cause="signal"}'):
        assert after[counter] == before[counter] > 0
    assert after["streamvaultd_restart_seconds_count"] == 0
