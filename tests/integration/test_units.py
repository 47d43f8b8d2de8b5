# SPDX-License-Identifier: GPL-3.0-or-later
"""What the units keep from what runs in them: networks, the machine, and plugins outside of the probe."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from streamvaultd.recording.segments import LEAN
from tests.fakes import lodger
from tests.fakes.livesource import LiveSource
from tests.integration.harness import SETTINGS, Ctl, configure, scopes
from tests.integration.stories import ends_well, wait_segments
from tests.integration.test_main_job import wait_state
from tests.testbed.box import Box

PROBE = "/usr/lib/python3/dist-packages/streamvaultd/watching/probe/probe.py"
WHERE = """
import sys
with open("/proc/self/cgroup") as file:
    (group,) = [line for line in file if line.startswith("0::")]
    sys.stderr.write("plugins are asked in " + group)
    sys.stderr.flush()
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

DAEMON, BROKER = "streamvaultd.service", "streamvault-brokerd.service"
FEW = 1000
"""What systemd itself may write to /run meanwhile, for the scopes."""
LODGER = "/usr/local/lib/lodger/lodger.py"
CALL = """
import socket, sys
with socket.socket(socket.AF_UNIX) as line:
    line.connect(f"/run/streamvault-{sys.argv[1]}/socket")
    while data := line.recv(65536):
        sys.stdout.buffer.write(data)
"""
FILLED = """
import os, sys, time
home, blocks, names, others = os.environ["HOME"], 0, 0, 0
def fill():
    written = 0
    try:
        while written < 2048:
            with open(f"{home}/blocks", "ab", buffering=0) as file:
                written += file.write(bytes(1 << 20)) == 1 << 20
    except OSError as error:
        sys.stderr.write(f"{error.strerror} after {written} MiB\\n")
for number in range(48):
    try:
        os.close(os.open(f"/tmp/scratch/{number:02}/intruder", os.O_CREAT | os.O_WRONLY))
        others += 1
    except OSError:
        pass
fill()
os.truncate(f"{home}/blocks", 0)
try:
    while names < 1 << 20:
        os.close(os.open(f"{home}/{names}", os.O_CREAT | os.O_WRONLY))
        names += 1
except OSError as error:
    sys.stderr.write(f"{error.strerror} after {names} files\\n")
fill()
sys.stderr.write(f"{others} others reached\\n")
while True:
    os.write(1, bytes(188))
    time.sleep(1)
"""
FILLER = f"""#!/bin/sh
[ $1 = --version ] && echo streamlink 8.6.3 && exit
exec python3 -c '{FILLED}'
"""


def main_pid(box: Box, unit: str) -> str:
    return box.run(["systemctl", "show", "--property=MainPID", "--value", unit]).stdout.strip()


def used(box: Box) -> list[int]:
    """Names and KiB that are taken in /run and /dev/shm of the machine."""
    shown = box.run(["df", "--output=iused,used", "/run", "/dev/shm"]).stdout.splitlines()[1:]
    return [int(number) for line in shown for number in line.split()]


@contextmanager
def drop_in(box: Box, unit: str, lines: str) -> Iterator[None]:
    """Settings of a unit for the time being; the daemon is to be restarted by who wants it to have them."""
    path = f"/run/systemd/system/{unit}.d/test.conf"
    box.write_file(path, f"[Service]\n{lines}\n")
    box.run(["systemctl", "daemon-reload"])
    try:
        yield
    finally:
        box.path(path).unlink()
        box.run(["systemctl", "daemon-reload"])


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


@pytest.mark.parametrize(
    ("unit", "tenths"),
    [
        (DAEMON, 14),
        (BROKER, 9),
        ("streamvault-probe@test.service", 12),
        ("streamvault-notify@test.service", 12),
        ("streamvault-install@test.service", 12),
    ],
)
def test_a_unit_is_exposed_no_more_than_is_explained(box: Box, unit: str, tenths: int) -> None:
    """By systemd's own measure; what is left has its reason in docs/design/010-threat-model.md."""
    analyze = ["systemd-analyze", "security", "--offline=no", "--no-pager"]
    done = box.run([*analyze, f"--threshold={tenths}", unit], check=False)
    assert done.returncode == 0, done.stdout
    assert box.run([*analyze, "--threshold=1", unit], check=False).returncode != 0


def test_memory_of_daemon_and_probe_is_closed_to_their_own_users(
    box: Box, ctl: Ctl, source: LiveSource, channel: str
) -> None:
    """The control is a segment, which anybody of the same user may look into who is not confined.

    What is seen there is also that it has the settings of glibc that save memory.
    """
    ctl("record", source.url(channel), "--name", channel)
    probes = ["systemctl", "show", "--property=MainPID", "--value", "streamvault-probe@*"]
    pids = {
        "daemon": main_pid(box, DAEMON),
        "probe": box.run(probes).stdout.split()[0],
        "segment": str(ctl.segments(channel)[0]["pid"]),
    }
    look = "setpriv --reuid=$(stat -c %u /proc/$0) --regid=$(stat -c %g /proc/$0) --clear-groups cat /proc/$0/environ"
    seen = [name for name, pid in pids.items() if box.run(["sh", "-c", look, pid], check=False).returncode == 0]
    assert seen == ["segment"]
    lean = box.run(["grep", "-zc", "^MALLOC_", f"/proc/{pids['segment']}/environ"]).stdout
    assert int(lean) == len(LEAN)
    ctl("stop", channel)


@pytest.fixture(name="planted")
def _planted(box: Box) -> Iterator[None]:
    """Files where all of the machine may write, and the program that looks for them."""
    box.write_file(LODGER, Path(lodger.__file__).read_text())
    files = [f"{folder}/{lodger.PLANTED}" for folder in lodger.SHARED]
    box.run(["touch", *files])
    yield
    box.run(["rm", *files])


@pytest.mark.usefixtures("planted")
def test_probe_and_notifier_reach_nothing_of_the_machine_but_networks(box: Box) -> None:
    """As the control shows, everything is there to be reached."""
    everything = json.loads(box.run(["/usr/bin/python3", "-I", LODGER]).stdout)["tried"]
    assert set(everything.values()) == {"reached"}
    left = {"probe": ["send to loopback"], "notify": ["send to loopback"]}
    for name, reached in left.items():
        with drop_in(box, f"streamvault-{name}@.service", f"ExecStart=\nExecStart=/usr/bin/python3 -I {LODGER}"):
            tried = json.loads(box.run(["/usr/bin/python3", "-c", CALL, name]).stdout)["tried"]
        assert sorted(tried) == sorted(everything)
        assert [attempt for attempt, result in tried.items() if result == "reached"] == reached, name


@pytest.mark.usefixtures("planted")
def test_daemon_and_broker_have_folders_and_objects_of_their_own(box: Box) -> None:
    box.run(["systemctl", "start", BROKER])
    planted = sorted(f"{folder}/{lodger.PLANTED}" for folder in lodger.SHARED)
    seen = ["sh", "-c", f"ls -d {' '.join(planted)} || true"]
    made = ["sh", "-c", "for folder in /run /run/lock; do touch $folder/made && echo $folder; done; true"]
    assert sorted(box.run(seen).stdout.splitlines()) == planted
    assert box.run(made).stdout.splitlines() == ["/run", "/run/lock"]
    objects = box.run(["readlink", "/proc/1/ns/ipc"]).stdout
    for unit in (DAEMON, BROKER):
        enter = ["nsenter", "--mount", "--target", main_pid(box, unit), "--"]
        assert box.run([*enter, *seen]).stdout == "", unit
        assert box.run([*enter, *made]).stdout == "", unit
        assert box.run(["readlink", f"/proc/{enter[3]}/ns/ipc"]).stdout != objects


def scratches(box: Box) -> dict[str, tuple[int, int]]:
    """The file systems for scratch folders that are not empty: KiB and names that are left."""
    enter = ["nsenter", "--mount", "--target", main_pid(box, DAEMON), "--"]
    found = box.run([*enter, "sh", "-c", "df --output=target,iused,avail,iavail /tmp/scratch/[0-9]*"]).stdout
    rows = [line.split() for line in found.splitlines()[1:]]
    assert len(rows) == 48
    return {place: (int(kib), int(names)) for place, used, kib, names in rows if int(used) > 1}


def test_what_fills_its_scratch_folder_fills_no_other(box: Box, ctl: Ctl, source: LiveSource, channel: str) -> None:
    """In a box without a limit of memory, so that the folder's own limits are what stops it.

    A neighbour that begins while it is full is muxed, which needs a scratch folder, and has every frame.
    """
    command = "/usr/local/lib/filler/streamlink"
    box.write_file(command, FILLER)
    box.run(["chmod", "755", command])
    before = used(box)
    # nothing comes of it for as long as this test takes
    patient = SETTINGS.replace('start_timeout = "30s"', 'start_timeout = "1h"')
    configure(box, patient + f'[streamlink]\ncommand = "{command}"\n')
    ctl("reload")
    ctl("record", source.url(channel), "--name", channel, "--no-block")
    full = box.wait_journal(
        "STREAMVAULT_STREAMER=" + channel, until=lambda entry: "others reached" in entry["MESSAGE"]
    )
    assert full["MESSAGE"] == "0 others reached"
    said = [
        entry["MESSAGE"] for entry in box.journal("STREAMVAULT_STREAMER=" + channel, "SYSLOG_IDENTIFIER=streamlink")
    ]
    no_space = "No space left on device after"
    assert said[:3] == [f"{no_space} 16 MiB", f"{no_space} 1021 files", f"{no_space} 16 MiB"]
    assert all(after - then < FEW for after, then in zip(used(box), before, strict=True))
    box.run(["systemctl", "daemon-reload"])
    configure(box)
    ctl("reload")
    source.control(f"{channel}-muxed", kind="separate")
    ctl("record", source.url(f"{channel}-muxed", "master"), "--name", "neighbour")
    ctl("rotate", "neighbour")
    wait_segments(box, ctl, "neighbour", ["rotated", None])
    assert (0, 0) in scratches(box).values()
    assert ctl.json("status")["unconfined"] == []
    ends_well(box, ctl, source, f"{channel}-muxed", "neighbour")
    box.wait_for(lambda: list(scratches(box).values()) == [(0, 0)], "its own are taken back", timeout=60)
    ctl("stop", channel, "--wait")
    box.wait_for(lambda: scratches(box) == {}, "they are removed", timeout=60)


def test_what_this_machine_lacks_is_told_and_recordings_go_on(
    box: Box, ctl: Ctl, source: LiveSource, channel: str
) -> None:
    """Control: with the units as they are, nothing is missing."""
    assert ctl.json("status")["unconfined"] == []
    check = ["/usr/libexec/streamvaultd/streamvaultd", "--check-config"]
    assert box.run(check).stderr == ""
    no_landlock = ["SystemCallFilter=~landlock_create_ruleset", "SystemCallErrorNumber=EPERM"]
    filtered = ["systemd-run", "--quiet", "--pipe", "--wait", *(f"--property={setting}" for setting in no_landlock)]
    said = box.run([*filtered, *check]).stderr
    assert said.startswith("note: segments cannot be confined as they should be: this kernel has no Landlock")
    with drop_in(box, DAEMON, "\n".join([*no_landlock, "IPAddressDeny="])):
        box.run(["systemctl", "restart", DAEMON])
        landlock, networks = ctl.json("status")["unconfined"]
        assert "no Landlock" in landlock
        assert "IPAddressDeny=" in networks
        told = box.journal("MESSAGE_ID=5c8e0b2f6f1d4f0c8f6c1a8d8a5b7f34")
        assert [landlock in entry["MESSAGE"] for entry in told[-2:]] == [True, False]
        ctl("record", source.url(channel), "--name", channel)
        assert ctl.state(channel) == "recording"
        ctl("stop", channel)
    box.run(["systemctl", "restart", DAEMON])
    wait_state(box, ctl, channel, "stopped")
    assert ctl.json("status")["unconfined"] == []
