# SPDX-License-Identifier: GPL-3.0-or-later
"""The package and what is recorded: an upgrade changes nothing, a removal ends it, a purge keeps it."""

from __future__ import annotations

import time
from pathlib import Path

from streamvaultd.errors import StoreTooNew
from tests.fakes.livesource import LiveSource
from tests.integration.harness import CONFIG, Ctl, count, scopes, streamlink_pid
from tests.integration.test_main_job import RECORDINGS, wait_media, wait_state
from tests.integration.test_socket import INTERFACE, READONLY
from tests.testbed.box import Box

DATABASE = "/var/lib/streamvaultd/streamvaultd.sqlite"
PACKAGE = "/root/streamvaultd.deb"
LOOK = f"while sleep 0.05; do varlinkctl call {READONLY} {INTERFACE}.List '{{}}'; done"


def install(box: Box, deb: Path) -> None:
    box.path(PACKAGE).write_bytes(deb.read_bytes())
    box.run(["dpkg", "--install", PACKAGE], timeout=120)


def main_pid(box: Box) -> int:
    return int(box.run(["systemctl", "show", "--property=MainPID", "--value", "streamvaultd.service"]).stdout)


def test_an_upgrade_leaves_a_recording_alone(box: Box, ctl: Ctl, source: LiveSource, channel: str, deb: Path) -> None:
    ctl("record", source.url(channel), "--name", "demo")
    daemon, running = main_pid(box), [(unit, streamlink_pid(box, unit)) for unit in scopes(box)]
    install(box, deb)
    assert main_pid(box) not in (0, daemon)
    wait_media(box, source, channel, 2)
    assert [(unit, streamlink_pid(box, unit)) for unit in scopes(box)] == running
    source.control(channel, end=True)
    wait_state(box, ctl, "demo", "completed")
    found = ctl.recording("demo")["runtime"]
    assert (found["segments"], found["deaths"]) == (1, 0)
    frames = count(box, found["path"], source, channel)
    assert (frames.lost, frames.repeated, frames.foreign) == ((), 0, 0)


def test_a_store_of_a_newer_version_is_refused_and_left_as_it_is(box: Box, ctl: Ctl) -> None:
    """As after a downgrade."""

    def sql(statement: str) -> str:
        return box.run(["sqlite3", DATABASE, statement]).stdout.strip()

    before = ctl.json("list", "--all")
    box.run(["systemctl", "stop", "streamvaultd.socket", "streamvaultd.service"])
    known = sql("SELECT version_num FROM alembic_version")
    sql("UPDATE alembic_version SET version_num = '9' || version_num")
    box.run(["systemctl", "start", "--no-block", "streamvaultd.service"])
    refused = str(StoreTooNew(url=f"sqlite:///{DATABASE}", found=f"9{known}", known=known))
    box.wait_journal("_SYSTEMD_UNIT=streamvaultd.service", until=lambda entry: refused in entry["MESSAGE"])
    box.run(["systemctl", "stop", "streamvaultd.service"])
    sql("UPDATE alembic_version SET version_num = substr(version_num, 2)")
    box.run(["systemctl", "start", "streamvaultd.socket", "streamvaultd.service"])
    assert ctl.json("list", "--all") == before


def test_after_a_removal_nothing_runs_and_a_new_installation_goes_on(
    box: Box, ctl: Ctl, source: LiveSource, channel: str, deb: Path
) -> None:
    """Somebody looks all the time at the read-only socket, which would start the daemon again."""
    box.run(["systemctl", "stop", "streamvaultd.service"])
    box.run(["systemctl", "start", "streamvaultd-readonly.socket", "streamvaultd.service"])
    box.run(["systemd-run", "--quiet", "--unit=looker", "--uid=nobody", "/bin/sh", "-c", LOOK])
    ctl("record", source.url(channel), "--name", "demo")
    told = box.run(["dpkg", "--remove", "streamvaultd"], timeout=120).stderr
    removed = time.time_ns() // 1000
    assert "what is recorded now ends; it goes on, or is joined, when the package is installed again" in told
    shown = box.run(["systemctl", "list-units", "--plain", "--no-legend", "--state=active,activating", "streamvault*"])
    assert shown.stdout == ""
    box.run(["systemctl", "stop", "looker.service"])
    folder = box.path(f"{RECORDINGS}/demo")
    assert [file.name for file in folder.glob("stream_*_segments/*")] == ["segment_001.ts"]

    install(box, deb)
    box.run(["systemctl", "start", "streamvaultd.service"])
    wait_state(box, ctl, "demo", "recording")
    source.control(channel, end=True)
    wait_state(box, ctl, "demo", "completed")
    assert ctl.recording("demo")["runtime"]["segments"] == 2
    (ended, _) = ctl.segments("demo")
    assert ended["endedAt"]["realtime"] <= removed, "nobody was there to see it"
    assert (ended["cause"], ended["death"], ctl.recording("demo")["runtime"]["deaths"]) == ("stopped", False, 0)


def test_a_purge_keeps_what_was_recorded_and_nothing_else(box: Box) -> None:
    state = box.path("/var/lib/streamvaultd")
    before = {file for file in state.rglob("*") if file.is_file()}
    media = {file for file in before if file.is_relative_to(box.path(RECORDINGS))}
    assert media < before
    assert box.path("/var/lib/streamvault-streamlink").is_dir()
    box.run(["dpkg", "--purge", "streamvaultd"], timeout=120)
    assert {file for file in state.rglob("*") if file.is_file()} == media
    assert not box.path("/var/lib/streamvault-streamlink").exists()
    assert box.path(CONFIG).exists()
    found = box.run(["find", "/", "/run", "-xdev", "-name", "*streamvault*", "-prune"]).stdout.split()
    assert {*found} == {"/etc/streamvaultd", "/var/lib/streamvaultd", PACKAGE}
