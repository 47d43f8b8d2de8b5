# SPDX-License-Identifier: GPL-3.0-or-later
"""check and cleanup: what the daemon did not make is put where its things are, named, repaired, and nothing else.

A recording runs through all of it; at the end every frame of it is there once.
"""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from tests.fakes.livesource import LiveSource
from tests.integration.auditor import (
    LOADED,
    RECORDINGS,
    STORE,
    Auditor,
    Steady,
    begin_steady,
    ends_undisturbed,
    finished,
    foreign_scope,
    kinds,
    outcome,
    plant_media,
    wait_state,
)
from tests.integration.harness import Ctl, count, scopes, streamlink_pid
from tests.integration.stories import kill, wait_up, wait_writing
from tests.testbed.box import Box


@pytest.fixture
def auditor(box: Box, ctl: Ctl) -> Auditor:
    return Auditor(box, ctl)


@pytest.fixture(scope="module")
def steady(box: Box, source: LiveSource) -> Steady:
    """A recording that runs through all tests."""
    return begin_steady(box, source, "steady-files")


@pytest.fixture(scope="module")
def made(box: Box, source: LiveSource) -> dict[str, Any]:
    """A recording that is over, for its file."""
    return finished(box, Ctl(box), source, "original")


# --- nothing is wrong ----------------------------------------------------------------------------------------------


def test_nothing_is_wrong(auditor: Auditor, steady: Steady, ctl: Ctl) -> None:
    assert auditor.check() == {}
    assert auditor.cleanup() == auditor.cleanup("--dry-run") | {"checked": auditor.cleanup()["checked"]}
    answer = auditor.cleanup()
    assert (answer["cleaned"], answer["errors"], answer["details"]) == (0, 0, [])
    assert answer["checked"]["units"] == 1
    assert answer["checked"]["pipes"] == 1
    assert ctl("check").stdout.startswith("0 violations. Checked: ")


def test_nothing_is_wrong_while_everything_moves(
    box: Box, ctl: Ctl, auditor: Auditor, source: LiveSource, steady: Steady
) -> None:
    """Recordings begin, rotate, die and end while audits run one after the other: not one finds anything."""
    names = [f"busy{number}" for number in range(3)]
    audits = 0
    for name in names:
        ctl("record", source.url(name), "--name", name, "--no-block")
        assert auditor.check() == {}
        audits += 1
    for turn in range(3):
        for name in names:
            number = len(ctl.segments(name))
            wait_state(box, ctl, name, "recording")
            if turn == 1:
                unit = f"streamvault-{ctl.recording(name)['id']}-{number:03d}.scope"
                kill(box, "KILL", streamlink_pid(box, unit))
            else:
                ctl("rotate", name, check=False)
            assert auditor.check() == {}
            audits += 1
    for name in names:
        source.control(name, end=True)
    while not all(ctl.state(name) == "completed" for name in names):
        assert auditor.check() == {}
        audits += 1
    print(f"{audits} audits, no violation")


# --- what the daemon did not make ----------------------------------------------------------------------------------


def test_a_scope_without_a_row(box: Box, auditor: Auditor, steady: Steady) -> None:
    unit = "streamvault-999-001.scope"
    with foreign_scope(box, unit):
        found = auditor.check()
        assert kinds(found) == ["scope-unknown"]
        assert found["scope-unknown", unit]["rule"] == "I1"
        auditor.cleanup("--dry-run")
        assert unit in scopes(box)
        assert outcome(auditor.cleanup(), "scope-unknown")["done"] is True
        assert unit not in scopes(box)
        assert auditor.check() == {}


def test_a_job_scope_without_a_row(box: Box, auditor: Auditor, steady: Steady) -> None:
    unit = "streamvault-job-999.scope"
    with foreign_scope(box, unit):
        assert kinds(auditor.check()) == ["job-unknown"]
        auditor.cleanup()
        assert unit not in scopes(box)
        assert auditor.check() == {}


def test_a_failed_scope(box: Box, auditor: Auditor, steady: Steady) -> None:
    unit = "streamvault-998-001.scope"
    with foreign_scope(box, unit, "-pRuntimeMaxSec=1"):
        box.wait_for(
            lambda: box.run(["systemctl", "is-failed", unit], check=False).stdout.strip() == "failed", "it has failed"
        )
        assert kinds(auditor.check()) == ["unit-failed"]
        auditor.cleanup()
        assert auditor.check() == {}
        assert unit not in box.run(LOADED).stdout


def test_a_row_of_a_job_that_is_gone(auditor: Auditor, steady: Steady) -> None:
    auditor.sql(
        "INSERT INTO jobs (recording_id, kind, status, attempts, spec, created_at) "
        "VALUES (?, 'join', 'running', 1, ?, '2026-01-01 00:00:00.000000')",
        steady.recording,
        '{"join": 77}',
    )
    assert kinds(auditor.check()) == ["job-lost"]
    assert outcome(auditor.cleanup(), "job-lost")["done"] is True
    assert auditor.check() == {}


# --- files without rows --------------------------------------------------------------------------------------------


def test_files_without_rows(box: Box, ctl: Ctl, auditor: Auditor, made: dict[str, Any], steady: Steady) -> None:
    """Media are recovered and joined, empty files and folders go; a number that is taken is changed."""
    path = made["runtime"]["path"]
    plant_media(auditor, path, "lost/stream_4711_segments", "segment_001.ts")
    plant_media(auditor, path, f"lost/stream_{made['stream']}_segments", "segment_003.ts")
    plant_media(auditor, "/dev/null", "lost/stream_4712_segments", "segment_001.ts")
    plant_media(auditor, path, "lost/stream_4713_segments", "something-else.ts")
    auditor.sh(f"mkdir {RECORDINGS}/lost/stream_4714_segments")
    auditor.sh(f"ln -s {path} {RECORDINGS}/lost/stream_4713_segments/segment_001.ts")
    auditor.sh(f"chown -hR _streamvault: {RECORDINGS}/lost")
    found = auditor.check()
    assert kinds(found) == ["file-empty", "folder-left", "media-unknown", "media-unknown"]
    before = auditor.state_of_everything()
    dry = auditor.cleanup("--dry-run")
    assert (dry["cleaned"], dry["errors"], len(dry["details"])) == (0, 0, 4)
    assert auditor.state_of_everything() == before

    answer = auditor.cleanup()
    # the folder of the empty file is empty then, and goes, too
    assert (answer["cleaned"], answer["errors"]) == (5, 0), answer
    box.wait_for(
        lambda: (
            len(done := [r for r in ctl.json("list", "lost") if r["runtime"]["state"] == "completed"]) == 2 and done
        ),
        "both are joined",
        timeout=60,
    )
    recovered = ctl.json("list", "lost")
    assert 4711 in [recording["stream"] for recording in recovered]
    assert made["stream"] not in [recording["stream"] for recording in recovered]
    for recording in recovered:
        box.run(["cmp", recording["runtime"]["path"], path])
    left = auditor.sh(f"find {RECORDINGS}/lost -mindepth 2 -printf '%P\\n' | sort").split()
    assert left == ["stream_4713_segments/segment_001.ts", "stream_4713_segments/something-else.ts"]
    assert auditor.check() == {}
    assert auditor.cleanup()["details"] == []


def test_a_file_that_somebody_writes_is_left_alone(
    box: Box, ctl: Ctl, auditor: Auditor, made: dict[str, Any], steady: Steady
) -> None:
    plant_media(auditor, made["runtime"]["path"], "written/stream_5001_segments", "segment_001.ts")
    file = f"{RECORDINGS}/written/stream_5001_segments/segment_001.ts"
    with box.popen(["sh", "-c", f"exec 3>>{file}; echo; read line"], stdin=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        assert kinds(auditor.check()) == ["media-unknown"]
        left = outcome(auditor.cleanup(), "media-unknown")
        assert (left["done"], "somebody writes to" in left["text"]) == (False, True)
        assert ctl.json("list", "written") == []
    assert outcome(auditor.cleanup(), "media-unknown")["done"] is True
    wait_state(box, ctl, "written", "completed")
    assert auditor.check() == {}


def test_files_that_the_daemon_may_not_touch(
    box: Box, ctl: Ctl, auditor: Auditor, made: dict[str, Any], steady: Steady
) -> None:
    """Copied back by root: the administrator is told what to do, and then it works."""
    plant_media(auditor, made["runtime"]["path"], "roots/stream_5101_segments", "segment_001.ts")
    auditor.sh(f"chown -R root: {RECORDINGS}/roots; chmod -R u=rwX,go=rX {RECORDINGS}/roots")
    left = outcome(auditor.cleanup(), "media-unknown")
    assert (left["done"], "chown -R _streamvault" in left["text"]) == (False, True)
    assert ctl.json("list", "roots") == []
    auditor.sh(f"chown -R _streamvault: {RECORDINGS}/roots")
    assert outcome(auditor.cleanup(), "media-unknown")["done"] is True
    wait_state(box, ctl, "roots", "completed")
    assert auditor.check() == {}


def test_the_daemon_tells_at_its_start(box: Box, auditor: Auditor, ctl: Ctl, steady: Steady) -> None:
    plant_media(auditor, "/etc/hostname", "told/stream_6001_segments", "segment_001.ts")
    box.run(["systemctl", "restart", "streamvaultd"])
    box.wait_journal(
        "SYSLOG_IDENTIFIER=streamvaultd",
        until=lambda e: "stream_6001_segments: No row knows" in e["MESSAGE"],
        timeout=30,
    )
    auditor.sh(f"rm -r {RECORDINGS}/told")
    assert auditor.check() == {}


# --- the end -------------------------------------------------------------------------------------------------------


def test_what_ran_through_all_of_it(box: Box, ctl: Ctl, auditor: Auditor, source: LiveSource, steady: Steady) -> None:
    ends_undisturbed(box, ctl, source, steady)
    assert auditor.check() == {}


def test_the_store_is_lost(box: Box, ctl: Ctl, source: LiveSource, channel: str, auditor: Auditor) -> None:
    """While it records: the new store knows nothing, and has other numbers; nothing is lost but the names."""
    ctl("record", source.url(channel), "--name", "orphan")
    ctl("rotate", "orphan", "--wait")
    wait_writing(box, ctl, "orphan", 2)
    box.run(["systemctl", "stop", "streamvaultd"])
    auditor.sh(f"mkdir -p /root/away; mv {STORE}* /root/away/")
    stopped_after = source.state(channel)["last"]
    box.run(["systemctl", "start", "streamvaultd"])
    wait_up(box, ctl)
    box.wait_for(lambda: scopes(box) == [], "what nobody knows is stopped")
    taker = f"{channel}-taker"
    ctl("record", source.url(taker), "--name", "taker")  # the new store's first stream
    assert kinds(auditor.check()) == ["media-unknown"] * len(auditor.check())
    answer = auditor.cleanup()
    assert answer["errors"] == 0, answer
    assert answer["cleaned"] >= 1
    wait_state(box, ctl, "orphan", "completed")
    path = ctl.recording("orphan")["runtime"]["path"]
    frames = count(box, path, source, channel, first_segment=0, last_segment=stopped_after - 1)
    assert not frames.lost, frames
    assert frames.repeated == 0, frames
    assert ctl.state("taker") == "recording"
    assert auditor.check() == {}
    source.control(taker, end=True)
    source.control(channel, end=True)
    wait_state(box, ctl, "taker", "completed")
