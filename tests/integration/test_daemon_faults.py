# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever happens to the daemon, to systemd's own services, or to the processes of a segment while it records.

P4: the daemon is not on the data path. P7: nothing is ever stuck. After each fault the segments are the same ones,
with the same limits and the same time of rotation, and at the end no frame is lost or repeated.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest

from streamvaultd.core.recording.effects import Notice
from streamvaultd.reporting.announced import ENTRIES
from streamvaultd.reporting.notices import DAEMON_STARTED
from tests.fakes.livesource import LiveSource
from tests.integration.fleet import Fleet
from tests.integration.harness import Ctl, configure, scopes, streamlink_pid
from tests.integration.stories import (
    causes,
    ends_well,
    kill,
    main_pid,
    told,
    wait_gone,
    wait_process_state,
    wait_scopes,
    wait_segments,
    wait_up,
    wait_writing,
)
from tests.testbed.box import Box

RECORDINGS = "/var/lib/streamvaultd/recordings"
SETTINGS = """
[recording]
grace = "2s"
start_timeout = "30s"
stall_timeout = "6s"
"""
STARTING = "7d4958e842da4a758f6c1cdc7b36dcc5"
"""SD_MESSAGE_UNIT_STARTING"""


@pytest.fixture(scope="module", autouse=True)
def quick(box: Box) -> None:
    """Ends and stalls are seen within seconds."""
    configure(box, SETTINGS)
    box.run(["systemctl", "restart", "streamvaultd"])


@pytest.fixture
def fleet(box: Box, source: LiveSource, channel: str) -> Iterator[Callable[[int], Fleet]]:
    """Makes recordings that run."""
    made: list[Fleet] = []

    def start(size: int) -> Fleet:
        made.append(Fleet(box, source, f"{channel}-", size))
        made[-1].record()
        return made[-1]

    yield start
    for each in made:
        each.stop()


def unit(ctl: Ctl, name: str, number: int = 1) -> str:
    return f"streamvault-{ctl.recording(name)['id']}-{number:03d}.scope"


def starts(box: Box) -> list[float]:
    """Seconds from each beginning of the daemon's start until it had adopted what ran, oldest first."""
    seconds, begun = [], 0.0
    for entry in box.journal(f"MESSAGE_ID={STARTING}", f"MESSAGE_ID={DAEMON_STARTED.message_id}"):
        at = int(entry["__MONOTONIC_TIMESTAMP"]) / 1e6
        if entry.get("UNIT") == "streamvaultd.service":
            begun = at
        elif entry["MESSAGE_ID"] == DAEMON_STARTED.message_id:
            seconds.append(round(at - begun, 3))
    return seconds


# --- the daemon ----------------------------------------------------------------------------------------------------


def test_killed_under_load(
    box: Box, ctl: Ctl, fleet: Callable[[int], Fleet], record_property: Callable[[str, object], None]
) -> None:
    """Nine recordings, the daemon killed three times: each time it adopts all of them as they were."""
    running = fleet(9)
    before = running.identities()
    for _ in range(3):
        daemon = main_pid(box)
        kill(box, "KILL", daemon)
        box.wait_for(lambda gone=daemon: main_pid(box) not in (0, gone), "a new daemon")  # type: ignore[misc]
        wait_up(box, ctl)
        assert running.identities() == before
    record_property("start to adopted, s", starts(box)[-3:])
    print("start to adopted, s:", starts(box)[-3:])
    assert {len(segments) for segments in running.segments().values()} == {1}
    running.end_well()


def test_restarted_again_and_again_while_segments_are_launched(
    box: Box, ctl: Ctl, fleet: Callable[[int], Fleet]
) -> None:
    """Five restarts in a row, each in the middle of rotations: none is stuck, none leaks, nothing is lost."""
    running = fleet(3)
    for _ in range(5):
        for name in running.names:
            ctl("rotate", name, check=False)  # refused while one is under way
        box.run(["systemctl", "restart", "streamvaultd"])
    running.wait_steady()
    assert all(len(segments) > 1 for segments in running.segments().values())
    running.end_well()


def test_the_watchdog_replaces_a_daemon_that_hangs(box: Box, ctl: Ctl, fleet: Callable[[int], Fleet]) -> None:
    """SIGSTOP: systemd misses its sign of life, aborts it and starts another one, which adopts."""
    folder = box.path("/run/systemd/system/streamvaultd.service.d")
    folder.mkdir(parents=True)
    (folder / "watchdog.conf").write_text("[Service]\nWatchdogSec=3s\n")
    box.run(["systemctl", "daemon-reload"])
    box.run(["systemctl", "restart", "streamvaultd"])
    try:
        running = fleet(2)
        before = running.identities()
        daemon = main_pid(box)
        kill(box, "STOP", daemon)
        box.wait_for(lambda: main_pid(box) not in (0, daemon), "a new daemon", timeout=20)
        wait_up(box, ctl)
        assert running.identities() == before
        shown = box.run(["systemctl", "show", "--property=NRestarts", "--value", "streamvaultd"]).stdout
        assert int(shown) == 1
    finally:
        (folder / "watchdog.conf").unlink()
        box.run(["systemctl", "daemon-reload"])
        box.run(["systemctl", "restart", "streamvaultd"])
    running.end_well()


def test_deaths_while_there_was_no_daemon(
    box: Box, ctl: Ctl, source: LiveSource, fleet: Callable[[int], Fleet]
) -> None:
    """Each is judged by what remains of it: the exit record, or nothing at all."""
    running = fleet(4)
    killed, shimless, over, alive = running.names
    units = {name: unit(ctl, name) for name in running.names}
    victims = {name: streamlink_pid(box, units[name]) for name in (killed, shimless)}
    before = running.identities()
    box.run(["systemctl", "stop", "streamvaultd"])
    kill(box, "KILL", victims[killed])
    kill(box, "KILL", before[shimless].pid, victims[shimless])
    source.control(over, end=True)
    box.wait_for(lambda: scopes(box) == [units[alive]], "three of four have ended")
    box.run(["systemctl", "start", "streamvaultd"])

    wait_segments(box, ctl, killed, ["signal:9", None])
    wait_segments(box, ctl, shimless, ["unknown", None])
    box.wait_for(lambda: causes(ctl, over)[0] == "source-ended", "the end of the broadcast is known")
    assert running.identity(alive) == before[alive]
    running.end_well()


# --- what the daemon relies on -------------------------------------------------------------------------------------


def test_the_broker_is_killed_in_the_middle_of_calls(box: Box, ctl: Ctl, fleet: Callable[[int], Fleet]) -> None:
    """Stopped first, so that the calls are certainly under way. Whether a scope was started is unknown then."""
    running = fleet(2)
    rotated, stopped = running.names
    broker = main_pid(box, "streamvault-brokerd")
    kill(box, "STOP", broker)
    ctl("rotate", rotated)
    ctl("stop", stopped)
    box.wait_for(lambda: ctl.segments(stopped)[-1]["phase"] == "stopping", "it is asked to stop")
    kill(box, "KILL", broker)
    box.wait_for(lambda: told(box, ENTRIES[Notice.ROTATION_FAILED], ctl.recording(rotated)["id"]), "a failed rotation")
    assert ctl.segments(rotated)[0]["phase"] == "writing"
    ctl("rotate", rotated, "--wait")
    box.wait_for(lambda: ctl.state(stopped) == "stopped", "it is stopped all the same", timeout=60)
    running.end_well([rotated])


def test_the_broker_is_killed_at_any_moment(box: Box, ctl: Ctl, fleet: Callable[[int], Fleet]) -> None:
    """Twelve times, up to 80 ms after a rotation was asked for: no scope is left over, and no recording stuck."""
    running, chance = fleet(2), random.Random(3)  # noqa: S311 - no secret
    for _ in range(12):
        for name in running.names:
            ctl("rotate", name, check=False)
        box.pause(chance.uniform(0.0, 0.08))
        box.run(["systemctl", "kill", "--signal=KILL", "streamvault-brokerd"], check=False)
    running.wait_steady()
    running.end_well()


@pytest.mark.parametrize("service", ["daemon-reexec", "systemd-journald", "dbus"])
def test_systemd_and_its_services_are_restarted(
    box: Box, ctl: Ctl, source: LiveSource, channel: str, service: str
) -> None:
    """The segment stays, the daemon stays, and the next death is seen and answered as ever."""
    ctl("record", source.url(channel), "--name", service)
    daemon, segment = main_pid(box), ctl.segments(service)[0]
    box.run(["systemctl", service] if service == "daemon-reexec" else ["systemctl", "restart", service])
    wait_up(box, ctl)
    assert (main_pid(box), ctl.segments(service)[0]["pid"]) == (daemon, segment["pid"])
    kill(box, "KILL", streamlink_pid(box, segment["unit"]))
    wait_segments(box, ctl, service, ["signal:9", None])
    ctl("rotate", service, "--wait")
    box.wait_for(lambda: causes(ctl, service) == ["signal:9", "rotated", None], "rotated")
    [death] = told(box, ENTRIES[Notice.SEGMENT_DIED], ctl.recording(service)["id"])
    assert "signal:9" in death
    ends_well(box, ctl, source, channel, service)


# --- the processes of a segment ------------------------------------------------------------------------------------


def test_a_streamlink_that_stands_still_is_replaced(box: Box, ctl: Ctl, source: LiveSource, channel: str) -> None:
    """SIGSTOP: alive, and writing nothing. Its whole control group is ended."""
    ctl("record", source.url(channel), "--name", "still")
    victim, shim = streamlink_pid(box, unit(ctl, "still")), ctl.segments("still")[0]["pid"]
    kill(box, "STOP", victim)
    wait_segments(box, ctl, "still", ["stall", None])
    wait_gone(box, victim, shim)
    wait_scopes(box, unit(ctl, "still", 2))
    ends_well(box, ctl, source, channel, "still")


def test_a_shim_that_stands_still_hides_no_death_for_long(
    box: Box, ctl: Ctl, source: LiveSource, channel: str
) -> None:
    """While it stands, streamlink writes on; its death, which nobody tells, is a stall then."""
    ctl("record", source.url(channel), "--name", "numb")
    victim, shim = streamlink_pid(box, unit(ctl, "numb")), ctl.segments("numb")[0]["pid"]
    kill(box, "STOP", shim)
    kill(box, "KILL", victim)
    wait_process_state(box, victim, "Z")
    wait_segments(box, ctl, "numb", ["stall", None])
    wait_gone(box, victim, shim)
    ends_well(box, ctl, source, channel, "numb")


def test_a_scope_that_an_administrator_stops_is_replaced(box: Box, ctl: Ctl, source: LiveSource, channel: str) -> None:
    """To end a recording is "streamvaultctl stop"; a scope that is stopped behind its back has died."""
    ctl("record", source.url(channel), "--name", "admin")
    box.run(["systemctl", "stop", unit(ctl, "admin")])
    wait_segments(box, ctl, "admin", ["signal:15", None])
    ends_well(box, ctl, source, channel, "admin")


def test_a_folder_that_is_removed_under_a_recording(box: Box, ctl: Ctl, source: LiveSource, channel: str) -> None:
    """What was removed is still open: it is told, the recording goes on in a new folder, and nothing is missing."""
    ctl("record", source.url(channel), "--name", "gone")
    recording = ctl.recording("gone")["id"]
    box.run(["rm", "-r", f"{RECORDINGS}/gone"])
    wait_writing(box, ctl, "gone", 2)
    box.wait_for(lambda: told(box, ENTRIES[Notice.FILE_TAKEN], recording), "what was removed is told")
    ends_well(box, ctl, source, channel, "gone")


def test_a_folder_that_nobody_may_enter_is_the_trouble_of_one_recording(
    box: Box, ctl: Ctl, source: LiveSource, channel: str
) -> None:
    """P6: neither the other recording pauses for it, nor does the next daemon fall over it."""
    closed, other = "closed", "open"
    for name in (closed, other):
        ctl("record", source.url(f"{channel}-{name}"), "--name", name)
        wait_writing(box, ctl, name, 1)
    box.run(["chmod", "0", f"{RECORDINGS}/{closed}"])
    daemon = main_pid(box)
    kill(box, "KILL", daemon)
    box.wait_for(lambda: main_pid(box) not in (0, daemon), "a new daemon")
    wait_up(box, ctl)
    box.wait_for(lambda: ctl.state(closed) == "paused", "it pauses")
    assert causes(ctl, other) == [None]
    box.run(["chmod", "750", f"{RECORDINGS}/{closed}"])
    wait_segments(box, ctl, closed, ["disk-full", None])
    ends_well(box, ctl, source, f"{channel}-{other}", other)
    source.control(f"{channel}-{closed}", end=True)
    box.wait_for(lambda: ctl.state(closed) == "completed", "it is joined", timeout=60)


def test_none_of_this_has_surprised_the_daemon(box: Box) -> None:
    """The last one here: whatever ended it, it was not an exception of its own."""
    lines = [entry["MESSAGE"] for entry in box.journal("_SYSTEMD_UNIT=streamvaultd.service")]
    assert [line for line in lines if "Traceback" in line or "Exception" in line] == []
