# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules of the audit, each with a world that breaks it and the same world a little different that does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from streamvaultd.config.inputs import is_name
from streamvaultd.core.model import Moment, Phase, Recorder, Recording, Segment, State
from streamvaultd.core.names import Job, Run
from streamvaultd.core.upkeep.audit import audit, confirmed
from streamvaultd.core.upkeep.recovery import recovered, reopened
from streamvaultd.core.upkeep.row_rules import REMOVAL_LIMIT
from streamvaultd.core.upkeep.run_rules import GATE_LIMIT, OVERDUE
from streamvaultd.core.upkeep.violations import ABOUT, Kind, Violation
from streamvaultd.core.upkeep.world import (
    Disk,
    JobRow,
    LoadedUnit,
    Pipe,
    Process,
    ResultState,
    Row,
    RowSegment,
    SegmentFile,
    World,
    moved,
)
from tests.unit.auditing import row_of
from tests.unit.rows import POLICY
from tests.unit.tables import violation_table

NOW: Final = 5000.0
AT: Final = Moment(NOW, 1_795_424_400_000_000)
FOLDER: Final = ("/srv/r", "demo", 7)
UNIT: Final = "streamvault-1-001.scope"
PATH: Final = "/srv/r/demo/stream_7_segments"
RESULT: Final = "/srv/r/demo/demo_1.ts"
MAN: Final = Path(__file__).resolve().parents[2] / "docs" / "man" / "streamvaultctl.1.rst"


def segment(number: int = 1, phase: Phase = Phase.WRITING, **more: Any) -> Segment:
    values: dict[str, Any] = {"started": AT, "media_at": AT, "size": 1000, "grown_at": NOW, "measure_at": NOW + 5}
    return Segment(number=number, phase=phase, since=AT, **(values | more))


def recorder(state: State = State.RECORDING, *segments: Segment, number: int = 1, **more: Any) -> Recorder:
    wanted = Recording(
        id=number,
        stream=7 if number == 1 else 7 + number,
        streamer="demo",
        url="http://h/live.m3u8?token=1",
        quality="best",
        directory="/srv/r",
        created=AT,
        duration=None,
        policy=POLICY,
    )
    return Recorder(recording=wanted, state=state, since=AT, segments=segments or (segment(),), **more)


def file(number: int = 1, size: int = 1000, folder: tuple[str, str, int] = FOLDER) -> SegmentFile:
    path = f"{folder[0]}/{folder[1]}/stream_{folder[2]}_segments/segment_{number:03d}.ts"
    return SegmentFile(folder=folder, number=number, path=path, size=size, modified=AT.realtime)


def disk(*files: SegmentFile, **more: Any) -> Disk:
    return Disk(there=frozenset({"/srv/r"}), files=files, **more)


def process(pid: int, *argv: str, **more: Any) -> Process:
    return Process(pid=pid, parent=more.pop("parent", 1), unit=more.pop("unit", ""), argv=argv, age=1e6, **more)


def world(one: Recorder | None = None, **more: Any) -> World:
    """A recording that writes its first segment, and everything of it is where it should be."""
    one = one or recorder()
    values: dict[str, Any] = {
        "recorders": (one,),
        "busy_runs": frozenset({Run(1, 1)}),
        "stored": (one,),
        "rows": (row_of(one),),
        "units": (LoadedUnit(name=UNIT, state="active", run=Run(1, 1)),),
        "pipes": (Pipe(name="exit-1-1", run=Run(1, 1)),),
        "processes": (
            process(10, "/usr/bin/python3", "-I", "-S", "/usr/lib/shim.py", run=Run(1, 1), unit=UNIT),
            process(
                11, "/usr/bin/streamlink", "--stdout", run=Run(1, 1), unit=UNIT, parent=10, writes=frozenset({PATH})
            ),
        ),
        "disk": disk(file()),
    }
    return World(now=NOW, started=0.0, **(values | more))


def joined(phase: Phase = Phase.REMOVED, **more: Any) -> World:
    """A recording that is over and joined, and that the daemon has let go."""
    over = recorder(State.COMPLETED, segment(phase=phase), path=RESULT, result_bytes=1000)
    found: dict[str, Any] = {
        "recorders": (), "stored": (), "units": (), "pipes": (), "processes": (), "busy_runs": frozenset(),
        "disk": disk(),
    }  # fmt: skip
    return world(over, **(found | more))


def kinds(one: World) -> list[Kind]:
    return [violation.kind for violation in audit(one)]


def row(one: World, **changes: Any) -> tuple[Row, ...]:
    return (replace(one.rows[0], **changes),)


def test_all_is_well() -> None:
    assert audit(world()) == ()
    assert audit(joined()) == ()
    assert audit(World(now=NOW, started=0.0)) == ()


# --- runs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", [Phase.WAITING, Phase.WRITING])
@pytest.mark.parametrize("units", [(), (LoadedUnit(name=UNIT, state="failed", run=Run(1, 1)),)])
def test_run_lost(phase: Phase, units: tuple[LoadedUnit, ...]) -> None:
    one = recorder(State.RECORDING, segment(phase=phase))
    assert kinds(world(one, units=units)) == [Kind.RUN_LOST]
    assert kinds(world(one, units=units, moving=frozenset({1}))) == []


@pytest.mark.parametrize("phase", [Phase.LAUNCHING, Phase.STOPPING, Phase.SEALING])
def test_a_run_without_a_scope_that_is_on_its_way(phase: Phase) -> None:
    one = recorder(State.STARTING if phase is Phase.LAUNCHING else State.STOPPING, segment(phase=phase))
    assert kinds(world(one, units=())) == []
    assert kinds(world(one, units=(LoadedUnit(name=UNIT, state="failed", run=Run(1, 1)),))) == []


def test_run_unwatched() -> None:
    assert kinds(world(busy_runs=frozenset())) == [Kind.RUN_UNWATCHED]
    being_stopped = LoadedUnit(name=UNIT, state="deactivating", run=Run(1, 1))
    assert kinds(world(busy_runs=frozenset(), units=(being_stopped,))) == []


def test_runs_too_many() -> None:
    two = (segment(1), segment(2))
    there: dict[str, Any] = {
        "units": (
            LoadedUnit(name=UNIT, state="active", run=Run(1, 1)),
            LoadedUnit(name="2", state="active", run=Run(1, 2)),
        ),
        "busy_runs": frozenset({Run(1, 1), Run(1, 2)}),
        "disk": disk(file(1), file(2)),
    }
    assert kinds(world(recorder(State.RECORDING, *two), **there)) == [Kind.RUNS_TOO_MANY]
    assert kinds(world(recorder(State.ROTATING, *two), **there)) == []
    stopping = (segment(1, Phase.STOPPING), segment(2))
    assert kinds(world(recorder(State.RECORDING, *stopping), **there)) == []


def test_two_recordings_of_one_streamer() -> None:
    one, other = recorder(), recorder(State.BACKOFF, segment(phase=Phase.ENDED, size=0), number=2, retry_at=NOW)
    rows = tuple(row_of(each) for each in (one, other))
    both = world(recorders=(one, other), stored=(one, other), rows=rows)
    assert [(v.kind, v.recording) for v in audit(both)] == [(Kind.RUNS_TOO_MANY, 2)]


def test_limit_missing() -> None:
    unlimited = LoadedUnit(name=UNIT, state="active", run=Run(1, 1), is_unlimited=True)
    assert kinds(world(units=(unlimited,))) == [Kind.LIMIT_MISSING]


def test_url_exposed() -> None:
    shown = process(11, "ffmpeg", "-i", "http://h/live.m3u8?token=1", run=Run(1, 1), unit=UNIT)
    [violation] = audit(world(processes=(shown,)))
    assert (violation.kind, violation.pid, violation.rule) == (Kind.URL_EXPOSED, 11, "I9")
    assert "token" not in violation.what


SHIM: Final = ("/usr/bin/python3", "-I", "-S", "/usr/lib/streamvaultd/shim.py", "--")


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([process(10, *SHIM, unit="session-3.scope")], 1),
        ([process(10, "/usr/bin/python3", "/usr/bin/streamlink", unit="user.slice")], 1),
        ([process(10, *SHIM, unit=UNIT, run=Run(1, 1))], 0),
        ([replace(process(10, *SHIM, unit="streamvaultd.service", is_ours=True), age=GATE_LIMIT - 1)], 0),
        ([replace(process(10, *SHIM, unit="streamvaultd.service", is_ours=True), age=GATE_LIMIT + 1)], 1),
        ([process(10, "/usr/bin/streamlink", "--json", unit="streamvaultd.service", is_ours=True)], 0),
        (
            [
                replace(process(10, *SHIM, unit="streamvaultd.service", is_ours=True), age=1.0),
                process(11, "/usr/bin/streamlink", unit="streamvaultd.service", parent=10, is_ours=True),
            ],
            1,
        ),
        ([process(10, "vi", "streamlink.txt", unit="session-3.scope")], 0),
    ],
)
def test_run_outside(found: list[Process], expected: int) -> None:
    assert kinds(world(processes=tuple(found))) == [Kind.RUN_OUTSIDE] * expected


# --- units, pipes, jobs --------------------------------------------------------------------------------------------


def with_unit(**values: Any) -> tuple[LoadedUnit, ...]:
    return (*world().units, LoadedUnit(**values))


def test_scope_unknown() -> None:
    units = with_unit(name="streamvault-9-001.scope", state="active", run=Run(9, 1))
    assert kinds(world(units=units)) == [Kind.SCOPE_UNKNOWN]
    assert kinds(world(units=units, moving=frozenset({9}))) == []
    assert kinds(world(units=units, unreadable=((9, "x"),))) == [Kind.ROW_UNREADABLE]
    assert kinds(world(units=units, busy_runs=frozenset({Run(1, 1), Run(9, 1)}))) == []
    assert kinds(world(units=with_unit(name="streamvault-own.scope", state="active"))) == []
    assert kinds(world(units=with_unit(name="s", state="deactivating", run=Run(9, 1)))) == []


def test_a_scope_of_a_segment_that_is_over() -> None:
    one = recorder(State.RECORDING, segment(1, Phase.ENDED), segment(2))
    units = (LoadedUnit(name="1", state="active", run=Run(1, 1)), LoadedUnit(name="2", state="active", run=Run(1, 2)))
    found = world(one, units=units, busy_runs=frozenset({Run(1, 2)}), pipes=(), disk=disk(file(1), file(2)))
    assert kinds(found) == [Kind.SCOPE_UNKNOWN]


def test_jobs() -> None:
    unit = with_unit(name="streamvault-job-4.scope", state="active", job=Job(4))
    job = (JobRow(id=4, recording=2),)
    assert kinds(world(units=unit)) == [Kind.JOB_UNKNOWN]
    assert kinds(world(jobs=job)) == [Kind.JOB_LOST]
    assert kinds(world(units=unit, jobs=job)) == []
    assert kinds(world(jobs=job, busy_jobs=frozenset({Job(4)}))) == []
    assert kinds(world(units=unit, busy_jobs=frozenset({Job(4)}))) == []


def test_unit_failed() -> None:
    assert kinds(world(units=with_unit(name="x", state="failed", run=Run(9, 1)))) == [Kind.UNIT_FAILED]
    assert kinds(world(units=with_unit(name="x", state="failed", job=Job(4)))) == [Kind.UNIT_FAILED]
    assert kinds(world(units=with_unit(name="x", state="failed", job=Job(4)), busy_jobs=frozenset({Job(4)}))) == []


def test_pipes() -> None:
    left = (
        Pipe(name="exit-1-1", run=Run(1, 1)),
        Pipe(name="exit-9-1", run=Run(9, 1)),
        Pipe(name="exit-job-4", job=Job(4)),
    )
    assert kinds(world(pipes=left)) == [Kind.PIPE_LEFT, Kind.PIPE_LEFT]
    assert kinds(world(pipes=left, jobs=(JobRow(id=4, recording=1),), busy_jobs=frozenset({Job(4)}))) == [
        Kind.PIPE_LEFT
    ]
    assert kinds(world(surplus=2)) == [Kind.PIPE_LEFT]
    assert kinds(world(surplus=-1)) == [Kind.PIPE_LOST]


# --- rows ----------------------------------------------------------------------------------------------------------


def test_deadlines() -> None:
    waiting = recorder(State.BACKOFF, segment(phase=Phase.ENDED, size=0), retry_at=NOW - OVERDUE + 1)
    quiet: dict[str, Any] = {"units": (), "pipes": (), "processes": (), "disk": disk()}
    assert kinds(world(waiting, **quiet)) == []
    assert kinds(world(replace(waiting, retry_at=NOW - OVERDUE - 1), **quiet)) == [Kind.DEADLINE_MISSED]
    silent = world(units=(), silent_for=31.0)
    assert kinds(silent) == [Kind.DEADLINE_MISSED]


def test_rows_of_a_running_recording() -> None:
    assert kinds(world(stored=(), rows=())) == [Kind.ROW_MISSING]
    assert kinds(world(stored=())) == [Kind.ROW_BEHIND]
    assert kinds(world(stored=(recorder(State.ROTATING),))) == [Kind.ROW_BEHIND]
    assert kinds(world(stored=(recorder(State.RECORDING, segment(phase=Phase.WAITING)),))) == [Kind.ROW_BEHIND]
    measured = recorder(State.RECORDING, segment(size=5, measure_at=None))
    assert kinds(world(stored=(measured,))) == []


def test_row_unowned() -> None:
    nobody: dict[str, Any] = {"recorders": (), "units": (), "pipes": (), "processes": ()}
    assert kinds(world(**nobody)) == [Kind.ROW_UNOWNED]
    assert kinds(world(**nobody, moving=frozenset({1}))) == []


def test_row_unreadable() -> None:
    assert kinds(world(unreadable=((5, "nonsense"),))) == [Kind.ROW_UNREADABLE]
    over = joined()
    assert kinds(replace(over, rows=row(over, state="nonsense"))) == [Kind.ROW_UNREADABLE]
    assert kinds(replace(over, rows=row(over, fault="its directory is missing"))) == [Kind.ROW_UNREADABLE]


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "recording"},
        {"state": "recording"},
        {"segments": (RowSegment(number=1, phase="writing", size=1000),)},
    ],
)
def test_status_wrong(changes: dict[str, Any]) -> None:
    over = joined()
    assert kinds(replace(over, rows=row(over, **changes))) == [Kind.STATUS_WRONG]


# --- files ---------------------------------------------------------------------------------------------------------


def test_directory_gone() -> None:
    gone = Disk(gone={"/srv/r": "No such file or directory", "/srv/other": "No such file or directory"})
    assert [(v.kind, v.subject) for v in audit(joined(disk=gone))] == [(Kind.DIRECTORY_GONE, "/srv/r")]
    assert kinds(World(now=NOW, started=0.0, disk=gone)) == []


def test_file_shared() -> None:
    path = file().path
    writers = tuple(
        process(pid, "x", unit=unit, writes=frozenset({path}), is_ours=unit == "streamvaultd.service")
        for pid, unit in enumerate((UNIT, UNIT, "streamvaultd.service"))
    )
    assert kinds(world(processes=writers)) == []
    assert kinds(world(processes=(*writers, process(9, "x", unit="a.service", writes=frozenset({path}))))) == [
        Kind.FILE_SHARED
    ]


def test_two_recordings_in_one_folder() -> None:
    one = recorder()
    other = replace(one, recording=replace(one.recording, id=2, streamer="demo"))
    both = (one, other)
    found = world(recorders=both, stored=both, rows=tuple(row_of(each) for each in both))
    assert Kind.FILE_SHARED in kinds(found)


def test_file_empty() -> None:
    assert kinds(world(disk=disk(file(), file(2, 0)))) == [Kind.FILE_EMPTY]
    assert kinds(world(recorder(State.STARTING, segment(phase=Phase.WAITING, size=0)), disk=disk(file(1, 0)))) == []
    assert kinds(joined(disk=disk(file(1, 0)))) == [Kind.FILE_EMPTY]
    writer = process(9, "x", unit="y.scope", writes=frozenset({file(2).path}))
    assert kinds(world(disk=disk(file(), file(2, 0)), processes=(writer,))) == []


def test_media_unknown() -> None:
    strange = ("/srv/r", "other", 3)
    found = world(disk=disk(file(), file(1, folder=strange), file(2, folder=strange)))
    [violation] = audit(found)
    assert (violation.kind, violation.path) == (Kind.MEDIA_UNKNOWN, "/srv/r/other/stream_3_segments")
    assert "2 of its segments (001, 002), 2000 bytes" in violation.what
    assert kinds(replace(found, rows_are_whole=False)) == []
    assert kinds(world(disk=disk(file(), file(2)))) == [Kind.MEDIA_UNKNOWN]
    assert kinds(world(disk=disk(file(), file(2)), moving=frozenset({1}))) == []


def test_folders_are_repaired_from_the_greatest_number_on() -> None:
    found = world(disk=disk(file(), *(file(1, folder=("/srv/r", "other", stream)) for stream in (3, 50, 9))))
    assert [violation.path for violation in audit(found)] == [
        f"/srv/r/other/stream_{stream}_segments" for stream in (50, 9, 3)
    ]


def test_media_gone() -> None:
    assert kinds(world(disk=disk())) == [Kind.MEDIA_GONE]
    assert kinds(world(disk=disk(is_whole=False))) == []
    assert kinds(world(disk=Disk())) == []
    assert kinds(joined(Phase.ENDED, disk=disk())) == []
    waiting = recorder(State.STARTING, segment(phase=Phase.WAITING, size=0))
    assert kinds(world(waiting, disk=disk())) == []


def test_media_in_a_folder_that_nobody_may_enter_are_not_called_gone() -> None:
    streamer = f"/srv/r/{recorder().recording.streamer}"
    closed = replace(disk(), gone={streamer: "Permission denied", "/srv/r/lost+found": "Permission denied"})
    assert [(v.kind, v.subject) for v in audit(world(disk=closed))] == [(Kind.DIRECTORY_GONE, streamer)]


def test_media_gone_of_a_recording_that_failed() -> None:
    """Some are missing: a mistake. All are missing: it was thrown away."""
    failed = recorder(State.FAILED, segment(1, Phase.ENDED), segment(2, Phase.ENDED))
    over: dict[str, Any] = {"recorders": (), "stored": (), "units": (), "pipes": (), "processes": ()}
    assert kinds(world(failed, **over, disk=disk(file(1)))) == [Kind.MEDIA_GONE]
    assert kinds(world(failed, **over, disk=disk())) == []
    assert kinds(world(failed, **over, disk=disk(file(1), file(2)))) == []


def test_media_back() -> None:
    assert kinds(joined(disk=disk(file()))) == [Kind.MEDIA_BACK]


def test_segments_left() -> None:
    left = joined(Phase.ENDED, disk=disk(file()))
    assert kinds(left) == [Kind.SEGMENTS_LEFT]
    assert kinds(replace(left, results={RESULT: ResultState.GONE})) == [Kind.SEGMENTS_LEFT]
    assert kinds(replace(left, jobs=(JobRow(id=1, recording=1),), busy_jobs=frozenset({Job(1)}))) == []
    owner = recorder(State.COMPLETED, segment(phase=Phase.ENDED), path=RESULT)
    owned = replace(left, recorders=(owner,), stored=(owner,))
    assert kinds(replace(owned, now=NOW + REMOVAL_LIMIT - 1)) == []
    assert kinds(replace(owned, now=NOW + REMOVAL_LIMIT + 1)) == [Kind.SEGMENTS_LEFT]
    restarted = replace(owned, now=NOW + REMOVAL_LIMIT + 1, started=NOW + 10)
    assert kinds(restarted) == []


def test_result_gone() -> None:
    over = joined()
    gone = replace(over, results={RESULT: ResultState.GONE})
    assert [(v.kind, bool(v.repair)) for v in audit(gone)] == [(Kind.RESULT_GONE, True)]
    folder_gone = replace(over, results={RESULT: ResultState.FOLDER_GONE})
    assert [(v.kind, bool(v.repair)) for v in audit(folder_gone)] == [(Kind.RESULT_GONE, False)]
    assert kinds(replace(gone, disk=Disk())) == []
    assert kinds(replace(gone, disk=disk(is_whole=False))) == []


def test_folder_left() -> None:
    empty = disk(file(), empty=((("/srv/r", "x", 3), "/srv/r/x/stream_3_segments"), (FOLDER, PATH)))
    assert [(v.kind, v.path) for v in audit(world(disk=empty))] == [(Kind.FOLDER_LEFT, "/srv/r/x/stream_3_segments")]


# --- the whole -----------------------------------------------------------------------------------------------------


def test_what_was_seen_once_is_not_confirmed() -> None:
    def seen(kind: Kind, subject: str, what: str = "") -> Violation:
        return Violation(kind=kind, subject=subject, what=what)

    first = (seen(Kind.RUN_LOST, "a"), seen(Kind.RUN_LOST, "b"))
    second = (seen(Kind.RUN_LOST, "b", "later"), seen(Kind.RUN_UNWATCHED, "a"))
    assert confirmed(first, second) == (second[0],)


def test_a_recorder_that_moves_is_known_as_such() -> None:
    one = recorder()
    bigger = replace(one, segments=(replace(one.segments[0], size=2000, measure_at=1.0),))
    assert moved({1: one}, {1: bigger}) == frozenset()
    assert moved({1: one}, {1: recorder(State.ROTATING)}) == {1}
    assert moved({1: one}, {}) == {1}
    assert moved({}, {1: one}) == {1}


def test_every_kind_can_be_found_and_says_what_to_do() -> None:
    assert set(ABOUT) == set(Kind)
    for about in ABOUT.values():
        assert bool(about.repair) != bool(about.advice)
        assert about.why.endswith(".")
        assert not about.repair.endswith(".")


def test_man_page_has_every_kind() -> None:
    page = MAN.read_text()
    shown = page.split(".. violations:begin", 1)[1].split(".. violations:end", 1)[0]
    assert shown.strip() == violation_table()


# --- recorders for what was lost -----------------------------------------------------------------------------------


def test_a_recovered_recorder() -> None:
    files = [replace(file(3), modified=AT.realtime - 5_000_000), file(2, 500)]
    made = recovered(files, stream=9, url="file:///x", policy=POLICY, at=AT)
    assert (made.state, made.joins, made.recording.stream, made.recording.streamer) == (State.FINALIZING, 1, 9, "demo")
    assert [(s.number, s.phase, s.size) for s in made.segments] == [(2, Phase.ENDED, 500), (3, Phase.ENDED, 1000)]
    assert made.recording.created == Moment(NOW - 5, AT.realtime - 5_000_000)


def test_a_reopened_recorder() -> None:
    called_over = recorder(State.COMPLETED, segment(1, Phase.REMOVED), segment(2, Phase.WRITING), joins=2, path=RESULT)
    after = reopened(called_over, {2: 700}, AT)
    assert (after.state, after.joins, after.path) == (State.FINALIZING, 3, None)
    assert [(s.phase, s.size) for s in after.segments] == [(Phase.REMOVED, 1000), (Phase.ENDED, 700)]
    nothing = reopened(recorder(State.COMPLETED, segment(2, Phase.WRITING)), {}, AT)
    assert (nothing.state, nothing.detail) == (State.FAILED, "no media arrived")


@pytest.mark.parametrize(("name", "is_one"), [("demo", True), ("a.b-c_9", True), (".hidden", False), ("a b", False)])
def test_names_of_streamers(name: str, *, is_one: bool) -> None:
    assert bool(is_name(name)) is is_one
