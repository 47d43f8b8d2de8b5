# SPDX-License-Identifier: GPL-3.0-or-later
"""People are notified by the installed service, with Debian's apprise; and the token is where nobody sees it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fakes.inbox import Inbox
from tests.fakes.livesource import LiveSource
from tests.integration.harness import SETTINGS, Ctl, configure, streamlink_pid
from tests.integration.stories import ends_well, kill, wait_segments, wait_up
from tests.testbed.box import Box

pytestmark = pytest.mark.timeout(1500)  # a package is fetched

PLANTED = "Pl4nt3dT0k3n"
CREDENTIALS = "/run/planted-notify"
DROP_IN = "/etc/systemd/system/streamvault-notify@.service.d/credentials.conf"
EVENTS = '[notifications]\nto = ["phone"]\nevents = ["started", "death", "completed"]\n'
WAIT = 60
BACKOFF = 200
"""As long as a third try may take to come."""


@pytest.fixture(name="inbox", scope="module")
def _inbox() -> Iterator[Inbox]:
    """On this host's loopback, which the box has too."""
    with Inbox() as found:
        yield found


@pytest.fixture(scope="module", autouse=True)
def _notified(box: Box, inbox: Inbox) -> None:
    """systemd passes no credentials in a box: a folder stands in for what it makes; tests/vm has the real ones."""
    box.write_file(DROP_IN, f"[Service]\nEnvironment=CREDENTIALS_DIRECTORY={CREDENTIALS}\n")
    box.write_file(f"{CREDENTIALS}/streamvault-notify.phone", f"# of the test\n{inbox.url(PLANTED)}\n")
    box.run(["chmod", "-R", "a+rX", CREDENTIALS])  # the user has no number before the process runs
    box.run(["systemctl", "daemon-reload"])
    configure(box, SETTINGS + EVENTS)
    box.run(["systemctl", "restart", "streamvaultd"])


def instances(box: Box) -> list[str]:
    """The processes that send just now."""
    shown = box.run(["systemctl", "list-units", "--plain", "--no-legend", "--state=active", "streamvault-notify@*"])
    return [line.split()[0] for line in shown.stdout.splitlines()]


def test_without_apprise_it_says_so_and_records_all_the_same(
    box: Box, ctl: Ctl, inbox: Inbox, source: LiveSource, channel: str
) -> None:
    """A box has not what the package only recommends. What it missed is told as a number."""
    refused = ctl("notify", "phone", check=False)
    assert refused.returncode == 1
    assert "apt install apprise" in refused.stderr
    box.wait_journal("MESSAGE_ID=92b51d3bb1f44a1dbd5f4b8df8a6d0e3")
    ctl("record", source.url(channel), "--name", channel)
    ends_well(box, ctl, source, channel, channel)
    install = "apt-get update -q && apt-get install -qy --no-install-recommends apprise"
    box.run(["sh", "-ec", install], timeout=600)
    ctl("notify", "phone")  # nothing was restarted
    inbox.wait_for("Test", f"{channel}: completed", "1 before could not be sent", limit=BACKOFF)


def test_a_recording_is_told_and_the_token_is_nowhere(
    box: Box, ctl: Ctl, inbox: Inbox, source: LiveSource, channel: str
) -> None:
    before = len(inbox.messages)
    ctl("record", source.url(channel), "--name", channel)
    recording = ctl.recording(channel)["id"]
    inbox.wait(before + 1, WAIT)
    kill(box, "KILL", streamlink_pid(box, f"streamvault-{recording}-001.scope"))
    wait_segments(box, ctl, channel, ["signal:9", None])
    inbox.wait(before + 2, WAIT)
    ends_well(box, ctl, source, channel, channel)
    inbox.wait(before + 3, WAIT)
    told = inbox.messages[before:]
    assert [message["title"].split(" (")[0] for message in told] == [
        f"{channel}: {topic}" for topic in ("started", "death", "completed")
    ]
    assert [message["type"] for message in told] == ["info", "warning", "success"]
    assert ctl.recording(channel)["runtime"]["path"] in told[2]["message"]
    assert set(inbox.paths) == {f"/{PLANTED}"}
    assert_hidden(box)


def test_a_service_that_hangs_is_another_users_trouble(
    box: Box, ctl: Ctl, inbox: Inbox, source: LiveSource, channel: str
) -> None:
    inbox.hangs = True
    inbox.asked.clear()
    before = len(inbox.messages)
    ctl("record", source.url(channel), "--name", channel)
    assert inbox.asked.wait(WAIT)
    (unit,) = instances(box)
    shown = box.run(["systemctl", "show", "--property=MainPID,DynamicUser,MemoryMax", unit]).stdout.split()
    found = dict(line.split("=") for line in shown)
    assert (found["DynamicUser"], found["MemoryMax"]) == ("yes", str(128 << 20))
    status = box.run(["cat", f"/proc/{found['MainPID']}/status"]).stdout
    uid = box.run(["id", "-u", "_streamvault"]).stdout.strip()
    assert status.split("Uid:")[1].split()[0] not in ("0", uid)
    seen = box.run(["ls", f"/proc/{found['MainPID']}/root/var/lib/streamvaultd"]).stdout
    assert seen == ""
    assert_hidden(box)
    box.run(["systemctl", "kill", "--signal=KILL", unit])
    inbox.hangs = False
    inbox.wait(before + 1, WAIT)
    assert inbox.messages[before]["title"].startswith(f"{channel}: started")
    ends_well(box, ctl, source, channel, channel)


def test_a_name_with_a_mistake_is_told_at_a_reload(box: Box, ctl: Ctl) -> None:
    cursor = box.run(["journalctl", "-n", "0", "--show-cursor", "-q"]).stdout.split("cursor: ")[1].strip()
    configure(box, SETTINGS + EVENTS.replace("phone", "phnoe"))
    box.run(["systemctl", "reload", "streamvaultd"])
    wait_up(box, ctl)
    told = ["journalctl", f"--after-cursor={cursor}", "-o", "cat", "MESSAGE_ID=92b51d3bb1f44a1dbd5f4b8df8a6d0e3"]
    box.wait_for(lambda: "streamvault-notify.phnoe" in box.run(told).stdout, "the mistake is told", timeout=WAIT)


def assert_hidden(box: Box) -> None:
    """The planted token is in no place where others could find it."""
    for command in (
        ["ps", "-e", "-ww", "-o", "args"],
        ["sh", "-c", "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ"],
        ["systemctl", "show", "streamvaultd.service", "streamvault-notify@*", "streamvault-notify.socket"],
        ["journalctl", "--no-pager", "--all", "--output=export"],
        ["sh", "-c", "grep -rl Pl4nt3d /var/lib/streamvaultd /run/streamvaultd /tmp /etc"],
    ):
        shown = box.run(command, check=False).stdout
        assert PLANTED not in shown, command
        assert command[-1].startswith("grep") is False or shown == "", shown
