# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads from the machine and the source what the account needs."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tests.chaos.facts import Facts, Leaks, Row, Told
from tests.chaos.faults import SMALL_DISK
from tests.testbed.frames import FrameCount, count_frames

if TYPE_CHECKING:
    from pathlib import Path

    from tests.chaos.faults import Strike, Target
    from tests.fakes.channel import Channel
    from tests.testbed.machine import Machine

STATE: Final = "/var/lib/streamvaultd"
STORE: Final = f"{STATE}/streamvaultd.sqlite"
RECORDINGS: Final = f"{STATE}/recordings"
DAEMON: Final = "streamvaultd.service"
BROKER: Final = "streamvault-brokerd.service"
DAEMONS: Final = (DAEMON, BROKER)
BUS_LOST: Final = 5.0
"""Seconds after a restart of the bus within which the broker notices."""
PROCESS_ENDED: Final = "98e322203f7a4ed290d09fe03c09fe15"
"""SD_MESSAGE_UNIT_PROCESS_EXIT of systemd."""


@dataclass(frozen=True, slots=True)
class Clocks:
    """How far (s) a machine's clocks are ahead of this host's monotonic clock."""

    monotonic: float
    realtime: float


def clocks(machine: Machine) -> Clocks:
    """Ask the machine what time it is."""
    program = "import time; print(time.monotonic(), time.time())"
    before = time.monotonic()
    answer = machine.run(["python3", "-I", "-S", "-c", program]).stdout.split()
    # it answers at the end: to start Python takes longer than to stop it
    after = time.monotonic()
    middle = max(before, after - 0.02)
    return Clocks(float(answer[0]) - middle, float(answer[1]) - middle)


def query(machine: Machine, sql: str) -> list[dict[str, Any]]:
    """Rows of the daemon's store."""
    done = machine.run(["sqlite3", "-json", "-readonly", "-cmd", ".timeout 10000", STORE, sql])
    return json.loads(done.stdout) if done.stdout.strip() else []


def rows_of(machine: Machine, recording: int, ahead: Clocks) -> tuple[Row, ...]:
    """The segments of a recording."""
    found = query(machine, f"SELECT * FROM segments WHERE recording_id = {recording} ORDER BY number")  # noqa: S608

    def moment(row: dict[str, Any], name: str) -> float | None:
        value = row[f"{name}_monotonic"]
        return None if value is None else value - ahead.monotonic

    return tuple(
        Row(
            number=row["number"],
            status=row["status"],
            cause=row["cause"],
            started=moment(row, "started_at"),
            ended=moment(row, "ended_at"),
            media_at=moment(row, "media_at"),
        )
        for row in found
    )


def events_of(machine: Machine, recording: int, ahead: Clocks) -> tuple[Told, ...]:
    """What was told about a recording."""
    seconds = "(julianday(at) - 2440587.5) * 86400.0"
    found = query(
        machine,
        f"SELECT kind, segment, {seconds} AS at FROM events WHERE recording_id = {recording} ORDER BY id",  # noqa: S608
    )
    return tuple(Told(kind=row["kind"], segment=row["segment"], at=row["at"] - ahead.realtime) for row in found)


def frames_of(machine: Machine, recording: int, channel: Channel, folder: Path) -> FrameCount | None:
    """The frames of the joined file against what the source offered; None when there is no such file."""
    [row] = query(machine, f"SELECT recording_path AS path FROM recordings WHERE id = {recording}")  # noqa: S608
    if row["path"] is None:
        return None
    file = machine.fetch(row["path"], folder / f"recording-{recording}.ts")
    try:
        return count_frames(file, channel.media, first_segment=0, last_segment=channel.last())
    finally:
        file.unlink()


def facts_of(
    machine: Machine, target: Target, channel: Channel, strikes: tuple[Strike, ...], folder: Path, began: float
) -> Facts:
    """All that is known of one recording."""
    ahead = clocks(machine)
    [recording] = query(machine, f"SELECT state FROM recordings WHERE id = {target.id}")  # noqa: S608
    [seams] = query(
        machine,
        f"SELECT count(*) AS gaps FROM seams WHERE recording_id = {target.id} AND kind <> 'exact'",  # noqa: S608
    )
    return Facts(
        name=target.name,
        state=recording["state"],
        rows=rows_of(machine, target.id, ahead),
        events=events_of(machine, target.id, ahead),
        gaps=seams["gaps"],
        frames=frames_of(machine, target.id, channel, folder),
        offers=tuple((channel.offered_at(index), channel.withdrawn_at(index)) for index in range(channel.last() + 1)),
        spells=tuple(channel.spells),
        frames_per_offer=channel.media.frames_per_segment,
        began=began,
        ended=channel.offered_at(channel.last()) if channel.ended_monotonic is None else channel.ended_monotonic,
        strikes=strikes,
    )


# --- what must not be left -----------------------------------------------------------------------------------------


def leaks_of(machine: Machine, strikes: tuple[Strike, ...]) -> Leaks:
    """What is left over, now."""
    units = ["systemctl", "list-units", "--all", "--plain", "--no-legend", "--type=scope", "streamvault-*"]
    failed = ["systemctl", "list-units", "--failed", "--plain", "--no-legend"]
    kept = {row["path"] for row in query(machine, "SELECT recording_path AS path FROM recordings")}
    files = lines(machine, ["find", RECORDINGS, SMALL_DISK, "-type", "f", "-not", "-name", ".stream_*.json"])
    empty = lines(
        machine, ["find", "/var/lib/streamvaultd", "-type", "f", "-size", "0", "-not", "-name", "*.sqlite-*"]
    )
    stored = machine.run(["systemctl", "show", "--value", "--property=NFileDescriptorStore", DAEMON]).stdout
    return Leaks(
        scopes=tuple(line.split()[0] for line in lines(machine, units)),
        processes=tuple(processes(machine)),
        files=tuple(file for file in files if file not in kept),
        empty_files=tuple(empty),
        descriptors=int(stored),
        crashes=tuple(crashes(machine, strikes)),
        failed_units=tuple(line.split()[0] for line in lines(machine, failed)),
    )


def lines(machine: Machine, command: list[str]) -> list[str]:
    return [line for line in machine.run(command).stdout.splitlines() if line.strip()]


def processes(machine: Machine) -> list[str]:
    """Shims, streamlinks and joins."""
    words = ("shim.py", "streamlink", "streamvaultd.jobs")
    return [line for line in lines(machine, ["ps", "-eo", "args"]) if any(word in line for word in words)]


def crashes(machine: Machine, strikes: tuple[Strike, ...]) -> list[str]:
    """Ends of the daemon and the broker by an exit status: faults end them by signals, and orders with 0.

    Only the loss of the system bus makes the broker exit: it is started again by its socket.
    """
    ahead = clocks(machine)
    bus = [(strike.before, strike.after + BUS_LOST) for strike in strikes if strike.kind == "bus-restart"]
    found = []
    for unit in DAEMONS:
        for entry in machine.journal(f"MESSAGE_ID={PROCESS_ENDED}", f"UNIT={unit}"):
            at = int(entry["__REALTIME_TIMESTAMP"]) / 1e6 - ahead.realtime
            excused = unit == BROKER and any(low <= at <= high for low, high in bus)
            if entry["EXIT_CODE"] == "exited" and entry["EXIT_STATUS"] != "0" and not excused:
                found.append(entry["MESSAGE"])
    return found
