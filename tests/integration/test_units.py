# SPDX-License-Identifier: GPL-3.0-or-later
"""What the units keep from what runs in them: networks, and plugins outside of the probe."""

from __future__ import annotations

import json

from tests.fakes.livesource import LiveSource
from tests.integration.harness import SETTINGS, Ctl, configure, scopes
from tests.testbed.box import Box

PROBE = "/usr/lib/python3/dist-packages/streamvaultd/watching/probe/probe.py"
WHERE = """
import syslog
with open("/proc/self/cgroup") as file:
    (group,) = [line for line in file if line.startswith("0::")]
    syslog.syslog("plugins are asked in " + group.strip())
"""
ADDRESSES = ("127.0.0.1", "127.0.0.2", "169.254.169.254", "224.0.0.251")
# A datagram is refused at once where a connection would be given up after minutes.
REACH = """
import json, socket, sys
found = []
for address in sys.argv[1:]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        try:
            out.sendto(b"?", (address, 9))
        except PermissionError:
            found.append(address)
print(json.dumps(found))
"""


def closed_to(box: Box, group: str) -> list[str]:
    """The addresses to which nothing can be sent from a control group."""
    enter = 'echo $$ > "/sys/fs/cgroup$0/cgroup.procs" && exec /usr/bin/python3 -c "$@"'
    done = box.run(["sh", "-c", enter, group, REACH, *ADDRESSES])
    found: list[str] = json.loads(done.stdout)
    return found


def closed_to_segment(box: Box, ctl: Ctl, url: str) -> list[str]:
    """The same from the scope of a recording of this URL."""
    before = set(scopes(box))
    ctl("record", url, "--name", "reach")
    (unit,) = set(scopes(box)) - before
    group = box.run(["systemctl", "show", "--property=ControlGroup", "--value", unit]).stdout.strip()
    try:
        return closed_to(box, group)
    finally:
        ctl("stop", "reach", "--wait")


def test_a_segment_reaches_of_this_host_what_its_url_names(
    box: Box, ctl: Ctl, source: LiveSource, channel: str
) -> None:
    """Sent from outside of a scope, each of the datagrams leaves: what stops them is the scope."""
    assert closed_to(box, "/init.scope") == []
    url = source.url(channel)
    assert "127.0.0.1" in url
    assert closed_to_segment(box, ctl, url) == ["127.0.0.2", "169.254.169.254", "224.0.0.251"]
    configure(box, SETTINGS + '[network]\nallow = ["127.0.0.2", "169.254.0.0/16"]\n')
    ctl("reload")
    assert closed_to_segment(box, ctl, url) == ["224.0.0.251"]
    configure(box)
    ctl("reload")


def test_plugins_run_in_the_probe_whoever_asks(box: Box, ctl: Ctl) -> None:
    asks = box.path(PROBE)
    before = asks.read_text()
    asks.write_text(before + WHERE)
    try:
        box.run(["systemctl", "restart", "streamvaultd"])
        assert ctl("record", "http://127.0.0.1:9/page", "--name", "nobody", check=False).returncode != 0
        box.wait_journal(until=lambda entry: "plugins are asked in" in entry["MESSAGE"], timeout=40)
    finally:
        asks.write_text(before)
    shown = box.run(["journalctl", "--no-pager", "--output=cat", "--grep=plugins are asked in"]).stdout.splitlines()
    assert shown
    assert [line for line in shown if "/streamvault-probe@" not in line] == []
