# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine goes down and comes up while recordings run, or is nearly brought down.

What needs a real kernel, such as a power cut and a clock that is set, is in tests/vm/test_host.py.
"""

from __future__ import annotations

from streamvaultd.reporting.notices import BUS_LOST, FILES_TROUBLE, SCOPE_TROUBLE, STORE_FAILED
from tests.fakes.livesource import LiveSource
from tests.integration.harness import Ctl
from tests.integration.stories import causes, ends_well, wait_scopes, wait_segments, wait_up
from tests.testbed.box import Box

BOOT_ID = "/proc/sys/kernel/random/boot_id"
# Holds up a shutdown after the segments were stopped and before the daemon is: systemd stops it before the daemon.
BLOCKER = ("--property=After=streamvaultd.service", "--property=ExecStop=sleep infinity")


def test_a_reboot_continues_the_same_recordings(box: Box, ctl: Ctl, source: LiveSource, channel: str) -> None:
    """Shut down: segments end in order, their ends are stored as such. Up again: the same recordings go on."""
    names = ("plain", "rotated", "ended")
    for name in names:
        ctl("record", source.url(f"{channel}-{name}"), "--name", name)
    ctl("rotate", "rotated")
    before = {name: ctl.recording(name) for name in names}
    boot = box.path(BOOT_ID).read_text()

    box.power_off()
    source.control(f"{channel}-ended", end=True)
    box.power_on()
    assert box.path(BOOT_ID).read_text() != boot
    wait_up(box, ctl)

    wait_segments(box, ctl, "plain", ["host-shutdown", None])
    after = {name: ctl.recording(name) for name in names}
    assert {name: told["id"] for name, told in after.items()} == {name: told["id"] for name, told in before.items()}
    shut_down = ["host-shutdown", "host-shutdown"]
    box.wait_for(lambda: [causes(ctl, "rotated")[1], causes(ctl, "ended")[0]] == shut_down, "all are told of it")
    assert causes(ctl, "rotated")[0] in ("host-shutdown", "rotated")

    for name in names:
        source.control(f"{channel}-{name}", end=True)
    for name in names:
        ends_well(box, ctl, source, f"{channel}-{name}", name)
    trouble = [f"MESSAGE_ID={entry.message_id}" for entry in (SCOPE_TROUBLE, FILES_TROUBLE, STORE_FAILED)]
    assert box.journal("--boot=-1", *trouble) == []


def test_what_ends_with_the_machine_is_stored_before_the_daemon_stops(
    box: Box, ctl: Ctl, source: LiveSource, channel: str
) -> None:
    """Not found out after the next boot, but seen: the daemon of the boot that ended has told it.

    The bus was restarted before, so the daemon has had to ask for systemd's signals once more.
    """
    ctl("record", source.url(channel), "--name", "told")
    recording = ctl.recording("told")["id"]
    box.run(["systemctl", "restart", "dbus", "systemd-logind"])
    box.wait_journal(f"MESSAGE_ID={BUS_LOST.message_id}")
    box.power_off()
    box.power_on()
    ended = box.journal("--boot=-1", f"STREAMVAULT_RECORDING={recording}", "STREAMVAULT_CAUSE=host-shutdown")
    assert len(ended) == 1
    wait_up(box, ctl)
    assert box.journal("--boot=0", f"STREAMVAULT_RECORDING={recording}", "STREAMVAULT_CAUSE=host-shutdown") == []
    wait_segments(box, ctl, "told", ["host-shutdown", None])
    ctl("stop", "told")


def test_stopping_the_slice_stops_everything(box: Box, ctl: Ctl, source: LiveSource, channel: str) -> None:
    """As documented: "systemctl stop streamvault.slice". Nothing is started while it goes on, or after it."""
    ctl("record", source.url(channel), "--name", "sliced")
    box.run(["systemctl", "stop", "streamvault.slice"])
    box.wait_for(
        lambda: box.run(["systemctl", "is-active", "streamvaultd"], check=False).stdout == "inactive\n",
        "it is stopped",
    )
    wait_scopes(box)
    box.run(["systemctl", "start", "streamvaultd"])
    box.wait_for(lambda: ctl.segments("sliced")[-1]["phase"] == "writing", "it records again", timeout=30)
    assert ctl.segments("sliced")[0]["cause"] == "signal:15"
    ends_well(box, ctl, source, channel, "sliced")


def test_a_planned_shutdown_is_none_yet(box: Box, ctl: Ctl, source: LiveSource, channel: str) -> None:
    ctl("record", source.url(channel), "--name", "planned")
    box.run(["shutdown", "+10"])
    box.run(["shutdown", "-c"])
    unit = f"streamvault-{ctl.recording('planned')['id']}-001.scope"
    box.run(["systemctl", "kill", "--signal=KILL", unit])
    wait_segments(box, ctl, "planned", ["signal:9", None])
    ctl("stop", "planned")


def test_a_shutdown_that_is_called_off(box: Box, ctl: Ctl, source: LiveSource, channel: str) -> None:
    """The last test of this box: systemd has stopped some of it for good."""
    ctl("record", source.url(channel), "--name", "back")
    box.run(["systemd-run", "--unit=blocker", *BLOCKER, "sleep", "infinity"])
    box.run(["systemctl", "--no-block", "poweroff"])
    box.wait_journal("STREAMVAULT_CAUSE=host-shutdown", "STREAMVAULT_STREAMER=back")
    assert ctl.recording("back")["runtime"]["state"] == "backoff"
    box.run(["systemctl", "cancel"])
    wait_segments(box, ctl, "back", ["host-shutdown", None])
    ends_well(box, ctl, source, channel, "back")
