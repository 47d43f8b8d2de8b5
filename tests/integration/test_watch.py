# SPDX-License-Identifier: GPL-3.0-or-later
"""Streamers are watched on a real systemd: every broadcast is recorded from its first frame, once."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.channel import Channel
from tests.fakes.livesource import LiveSource
from tests.integration.harness import SETTINGS, Ctl, configure
from tests.integration.twitch import give_credentials
from tests.testbed.box import Box
from tests.testbed.frames import count_frames
from tests.testbed.machine import Machine

WATCH = """
[watch]
interval = "5s"
spacing = "50ms"
"""
STREAMERS = 30
LIVE = 6


@pytest.fixture(scope="module", autouse=True)
def _watching(box: Box) -> None:
    """Short intervals, so that whoever goes live is seen within seconds."""
    configure(box, SETTINGS + WATCH)
    box.run(["systemctl", "restart", "streamvaultd"])


class Watched:
    """A streamer in the box, and the broadcasts of its channel."""

    def __init__(self, box: Box, source: LiveSource, name: str) -> None:
        self.box, self.source, self.name = box, source, name
        self.ctl = Ctl(box)
        self.source.go_off_air(name)

    def add(self, *options: str) -> None:
        self.ctl("add", self.source.url(self.name), "--name", self.name, *options)

    def runtime(self) -> dict[str, Any]:
        told = {each["name"]: each["runtime"] for each in self.ctl.json("streamers")}
        found: dict[str, Any] = told[self.name]
        return found

    def wait(self, state: str) -> None:
        self.box.wait_for(lambda: self.runtime()["state"] == state, f"{self.name} is {state}", timeout=60)

    def recordings(self) -> list[dict[str, Any]]:
        """Oldest first."""
        found: list[dict[str, Any]] = self.ctl.json("list", self.name, "--all")
        return found[::-1]

    def wait_completed(self, number: int) -> None:
        def is_completed() -> bool:
            states = [each["runtime"]["state"] for each in self.recordings()]
            return states == ["completed"] * number

        self.box.wait_for(is_completed, f"{number} recordings of {self.name} are complete", timeout=120)

    def lose_nothing(self, recording: dict[str, Any], broadcast: Channel) -> None:
        """The recording has every frame of the broadcast, once."""
        with tempfile.TemporaryDirectory() as folder:
            fetched = self.box.fetch(recording["runtime"]["path"], Path(folder) / "fetched.ts")
            frames = count_frames(fetched, broadcast.media, first_segment=0, last_segment=broadcast.last())
        assert frames.is_perfect, f"{self.name}: {frames}"


def pass_segments(box: Box, broadcast: Channel, number: int) -> None:
    """Let so many media segments of a broadcast pass."""
    goal = broadcast.last() + number
    box.wait_for(lambda: broadcast.last() >= goal, "the broadcast goes on", timeout=60)


def test_added_live_over_and_live_again(box: Box, source: LiveSource) -> None:
    alice = Watched(box, source, "alice")
    alice.add()
    alice.wait("offline")
    first = source.go_live("alice")
    alice.wait("recording")
    pass_segments(box, first, 3)
    source.control("alice", end=True)
    alice.wait_completed(1)
    alice.wait("offline")
    second = source.go_live("alice")
    alice.wait("recording")
    pass_segments(box, second, 3)
    source.control("alice", end=True)
    alice.wait_completed(2)
    for recording, broadcast in zip(alice.recordings(), (first, second), strict=True):
        alice.lose_nothing(recording, broadcast)
    assert len({each["stream"] for each in alice.recordings()}) == 2
    alice.ctl("check")
    alice.ctl("remove", "alice")
    assert box.run(["ls", "/var/lib/streamvaultd/streamers.d"]).stdout == ""


def test_the_probe_is_another_user_with_limits_and_is_replaced(box: Box, source: LiveSource) -> None:
    bob = Watched(box, source, "bob")
    bob.add()
    bob.wait("offline")
    (unit,) = probes(box)
    shown = box.run(["systemctl", "show", "--property=MemoryMax,DynamicUser,WatchdogUSec,MainPID", unit]).stdout
    assert f"MemoryMax={256 << 20}\nDynamicUser=yes" in shown.replace("\r", "") or "DynamicUser=yes" in shown
    pid = shown.split("MainPID=")[1].split()[0]
    status = box.run(["cat", f"/proc/{pid}/status"]).stdout
    uid = box.run(["id", "-u", "_streamvault"]).stdout.strip()
    assert status.split("Uid:")[1].split()[0] not in ("0", uid)
    for signal in ("KILL", "STOP"):
        box.run(["systemctl", "kill", f"--signal={signal}", unit])
        live = source.go_live("bob")
        bob.wait("recording")
        pass_segments(box, live, 2)
        source.control("bob", end=True)
        bob.wait_completed(1 if signal == "KILL" else 2)
        (unit,) = [each for each in probes(box) if each != unit][-1:] or [unit]
    bob.ctl("remove", "bob")


def probes(box: Box) -> list[str]:
    """The instances that run."""
    shown = box.run(["systemctl", "list-units", "--plain", "--no-legend", "--state=active", "streamvault-probe@*"])
    return [line.split()[0] for line in shown.stdout.splitlines()]


@pytest.mark.timeout(1500)
def test_thirty_streamers_of_whom_six_go_live(box: Box, source: LiveSource) -> None:
    """Every broadcast from its first window, none twice, none missed; with a daemon that is killed meanwhile."""
    dice = random.Random(6)  # noqa: S311 - no secret
    many = [Watched(box, source, f"many{number:02d}") for number in range(STREAMERS)]
    for each in many:
        each.add()
    many[-1].wait("offline")
    live = {each: source.go_live(each.name) for each in dice.sample(many, LIVE)}
    for each in live:
        each.wait("recording")
    box.run(["systemctl", "kill", "--signal=KILL", "streamvaultd"])
    box.run(["systemctl", "is-active", "--wait", "streamvaultd"], check=False)
    for each in live:
        each.wait("recording")
        source.control(each.name, end=True)
    for each, broadcast in live.items():
        each.wait_completed(1)
        each.lose_nothing(each.recordings()[0], broadcast)
    for each in many:
        assert len(each.recordings()) == (1 if each in live else 0), each.name
        each.ctl("remove", each.name)


def test_the_newest_streamlink_is_used_for_asking_too(box: Box, source: LiveSource) -> None:
    """It is not below the state directory, of which the probe sees nothing."""
    carol = Watched(box, source, "carol")
    carol.add()
    carol.wait("offline")
    newest = carol.ctl.json("streamlink", "install", timeout=300)
    box.wait_for(lambda: newest["command"].rpartition("/")[0] in interpreter(box), "it asks with that", timeout=60)
    pid = box.run(["systemctl", "show", "--property=MainPID", "--value", *probes(box)]).stdout.split()[0]
    seen = box.run(["ls", f"/proc/{pid}/root/var/lib/streamvaultd"]).stdout.split()
    assert seen == []
    broadcast = source.go_live("carol")
    carol.wait("recording")
    pass_segments(box, broadcast, 2)
    source.control("carol", end=True)
    carol.wait_completed(1)
    carol.lose_nothing(carol.recordings()[0], broadcast)
    carol.ctl("remove", "carol")


def interpreter(box: Box) -> str:
    """What the probes run with."""
    return box.run(["sh", "-c", "ps -C python -C python3 -o args | grep probed.py"], check=False).stdout


PLANTED = "planted-6f1d0c7e"
AWAY = ("d2c8f3ab6e5b4a0f8f1c7f0a3f6b92ce", "5b1f0c4a9d0e4b7cb8f5e2a6d3c1970e")
"""Twitch's interface, and its events."""

NOBODY = "http://127.0.0.1:9"
TWITCH = f"""
client_id=somebody
client_secret={PLANTED}
user_token={PLANTED}
refresh_token={PLANTED}
api={NOBODY}
auth={NOBODY}
events=ws://127.0.0.1:9/ws
"""


def test_no_secret_is_seen_and_one_that_is_refused_loses_no_broadcast(box: Box, source: LiveSource) -> None:
    """X-Refuse is a token that the site does not want, the cookie one that it does not mind. Twitch is away."""
    secrets = {"cookie": f"http-cookie=session={PLANTED}\n", "token": f"http-header=X-Refuse={PLANTED}\n"}
    for name in secrets:
        source.go_off_air(name)
        file = f"[streamer]\nurl = '{source.url(name)}'\n[streamlink]\nsecrets = ['{name}']\n"
        box.write_file(f"/etc/streamvaultd/streamers.d/{name}.toml", file)
    box.write_file("/etc/streamvaultd/streamers.d/far.toml", "[streamer]\nurl = 'https://www.twitch.tv/far'\n")
    credentials = {f"streamvault.{name}": text for name, text in secrets.items()}
    give_credentials(box, {**credentials, "streamvaultd.helix": TWITCH})
    box.run(["systemctl", "restart", "streamvaultd"])
    watched = [Watched(box, source, name) for name in secrets]
    for each in watched:
        each.wait("offline") if each.name == "cookie" else None
        broadcast = source.go_live(each.name)
        each.wait("recording")
        pass_segments(box, broadcast, 2)
    for message in AWAY:
        box.wait_journal(f"MESSAGE_ID={message}", timeout=60)
    assert seen_by_others(box, PLANTED) == ""
    assert core_limits(box) == {"0 0 bytes"}
    for each in watched:
        source.control(each.name, end=True)
        each.wait_completed(1)
        each.lose_nothing(each.recordings()[0], source.channels[each.name])
    box.run(["journalctl", "--sync"])
    told = box.run(["journalctl", "--no-pager", "--all", "MESSAGE_ID=0b7a7be1fd4b4bd4a4f5c5e92e0d8c37"]).stdout
    assert "refuses the secrets of its file" in told
    assert "'token'" in told
    assert "'cookie'" not in told
    refused = each.ctl("remove", "token", check=False)
    assert "is the administrator's" in refused.stderr
    assert seen_by_others(box, PLANTED) == ""


def core_limits(box: Machine) -> set[str]:
    """How large core files may be, of the daemon, the probe and all that runs in scopes."""
    script = """
        systemctl is-active --quiet streamvaultd 'streamvault-probe@*' 'streamvault-*.scope' || exit 1
        for unit in streamvaultd 'streamvault-probe@*' 'streamvault-*.scope'; do
            for group in $(systemctl show --property=ControlGroup --value "$unit"); do
                sed -n 's/Max core file size *//p' $(sed 's,.*,/proc/&/limits,' "/sys/fs/cgroup$group/cgroup.procs")
            done
        done
    """
    return {" ".join(line.split()) for line in box.run(["sh", "-c", script]).stdout.splitlines()}


def seen_by_others(box: Machine, *planted: str) -> str:
    """Where a planted text can be seen by somebody who is neither root nor the daemon; and in the journal at all."""
    script = """
        ps axeww -o args | grep -f /root/pattern
        systemctl show --all '*' | grep -f /root/pattern
        journalctl --all --no-pager --output=export | grep -a -f /root/pattern
        cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n' | grep -f /root/pattern
        setpriv --reuid=nobody --regid=nogroup --clear-groups \\
            find /etc /run /var /tmp /dev/shm -xdev -type f -readable -size -4M -print0 2>/dev/null \\
            | xargs -0 grep -l -f /root/pattern
        true
    """
    box.write_file("/root/pattern", "\n".join(planted) + "\n")
    box.write_file("/root/seen.sh", script)
    box.run(["chmod", "600", "/root/pattern"])
    return box.run(["sh", "/root/seen.sh"], timeout=180).stdout
