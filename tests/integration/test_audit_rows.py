# SPDX-License-Identifier: GPL-3.0-or-later
"""check and cleanup: rows that somebody changed, joined files that are not there, processes that should not be.

A recording runs through all of it; at the end every frame of it is there once.
"""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.fakes.livesource import LiveSource
from tests.integration.auditor import (
    RECORDINGS,
    Auditor,
    Steady,
    begin_steady,
    ends_undisturbed,
    finished,
    kinds,
    outcome,
    plant_media,
    wait_state,
)
from tests.integration.harness import Ctl, scopes
from tests.integration.stories import wait_up
from tests.testbed.box import Box


@pytest.fixture
def auditor(box: Box, ctl: Ctl) -> Auditor:
    return Auditor(box, ctl)


@pytest.fixture(scope="module")
def steady(box: Box, source: LiveSource) -> Steady:
    """A recording that runs through all tests."""
    return begin_steady(box, source, "steady-rows")


@pytest.fixture(scope="module")
def made(box: Box, source: LiveSource) -> dict[str, Any]:
    """A recording that is over; who changes it changes it back."""
    return finished(box, Ctl(box), source, "spare")


# --- rows that are wrong -------------------------------------------------------------------------------------------


def test_a_row_that_was_called_over(box: Box, ctl: Ctl, source: LiveSource, auditor: Auditor, steady: Steady) -> None:
    """What the incident's clean-up did: the status was set to completed, and nothing was ever joined."""
    ctl("record", source.url("flipped"), "--name", "flipped")
    number = ctl.recording("flipped")["id"]
    box.run(["systemctl", "stop", "streamvaultd"])
    auditor.sql("UPDATE recordings SET status = 'completed' WHERE id = ?", number)
    box.run(["systemctl", "start", "streamvaultd"])
    wait_up(box, ctl)
    box.wait_for(lambda: scopes(box) == [f"streamvault-{steady.recording}-001.scope"], "its scope is stopped")
    found = auditor.check()
    assert kinds(found) == ["status-wrong"]
    done = outcome(auditor.cleanup(), "status-wrong")
    assert done["done"] is True
    wait_state(box, ctl, "flipped", "completed")
    assert box.run(["test", "-s", ctl.recording("flipped")["runtime"]["path"]]).returncode == 0
    assert auditor.check() == {}
    source.control("flipped", end=True)


def test_a_row_that_says_recording(box: Box, ctl: Ctl, source: LiveSource, auditor: Auditor, steady: Steady) -> None:
    """A row without a run, that the daemon does not own: it takes the usual way of a death, and records on."""
    made = finished(box, ctl, source, "zombie")
    number = made["id"]
    source.control("zombie", end=False)
    auditor.sql(
        "UPDATE recordings SET status = 'recording', state = 'recording', recording_path = NULL WHERE id = ?", number
    )
    auditor.sql("UPDATE segments SET status = 'writing' WHERE recording_id = ?", number)
    found = auditor.check()
    assert kinds(found) == ["row-unowned"], found
    assert outcome(auditor.cleanup(), "row-unowned")["done"] is True
    box.wait_for(lambda: ctl.state("zombie") in ("completed", "failed"), "it has come to an end", timeout=90)
    assert auditor.check() == {}


def test_a_row_that_cannot_be_read(auditor: Auditor, made: dict[str, Any], steady: Steady) -> None:
    auditor.sql("UPDATE recordings SET state = 'nonsense' WHERE id = ?", made["id"])
    found = auditor.check()
    assert kinds(found) == ["row-unreadable"]
    left = outcome(auditor.cleanup(), "row-unreadable")
    assert left["done"] is False
    auditor.sql("UPDATE recordings SET state = 'completed' WHERE id = ?", made["id"])
    assert auditor.check() == {}


def test_a_row_that_is_behind(auditor: Auditor, steady: Steady) -> None:
    """Written over by hand; the daemon knows better, and writes it again, at the latest with its next save."""
    auditor.sql("UPDATE segments SET status = 'waiting' WHERE recording_id = ?", steady.recording)
    auditor.cleanup()
    assert auditor.check() == {}
    assert "writing" in auditor.sql("SELECT status FROM segments WHERE recording_id = ?", steady.recording)


def test_rows_that_somebody_removed(auditor: Auditor, ctl: Ctl, steady: Steady) -> None:
    """While it records: its next save writes them again, and it goes on as if nothing had been."""
    stream = ctl.recording("steady")["stream"]
    auditor.sql("DELETE FROM segments WHERE recording_id = ?", steady.recording)
    auditor.sql("DELETE FROM recordings WHERE id = ?", steady.recording)
    auditor.sql("DELETE FROM streams WHERE id = ?", stream)
    auditor.sql("DELETE FROM streamers WHERE username = 'steady'")
    auditor.cleanup()
    assert auditor.check() == {}
    assert ctl.recording("steady")["id"] == steady.recording
    assert ctl.state("steady") == "recording"


# --- joined files --------------------------------------------------------------------------------------------------


def test_segments_that_were_not_removed(box: Box, auditor: Auditor, made: dict[str, Any], steady: Steady) -> None:
    """They go only after the joined file is proven to be what they make; one that is not keeps them."""
    path, stream = made["runtime"]["path"], made["stream"]
    segment = f"{RECORDINGS}/spare/stream_{stream}_segments/segment_001.ts"
    plant_media(auditor, path, f"spare/stream_{stream}_segments", "segment_001.ts")
    assert kinds(auditor.check()) == ["media-back"]
    auditor.sql("UPDATE segments SET status = 'ended' WHERE recording_id = ?", made["id"])

    # a joined file that is another: nothing goes
    auditor.sh(f"cp -p {path} /root/good.ts; printf x | dd of={path} bs=1 seek=5000 conv=notrunc 2>/dev/null")
    assert kinds(auditor.check()) == ["segments-left"]
    auditor.cleanup()
    box.wait_journal(
        f"STREAMVAULT_RECORDING={made['id']}", until=lambda e: "keeps its segments" in e["MESSAGE"], timeout=30
    )
    assert box.run(["test", "-e", segment]).returncode == 0

    # the right one: they go
    auditor.sh(f"cp /root/good.ts {path}")
    auditor.cleanup()
    box.wait_for(lambda: box.run(["test", "-e", segment], check=False).returncode == 1, "they are gone")
    box.run(["cmp", path, "/root/good.ts"])
    box.wait_for(lambda: auditor.check() == {}, "all is well", timeout=30)

    # the joined file is lost and the segments are there: it is made anew
    plant_media(auditor, path, f"spare/stream_{stream}_segments", "segment_001.ts")
    auditor.sql("UPDATE segments SET status = 'ended' WHERE recording_id = ?", made["id"])
    box.run(["rm", path])
    assert kinds(auditor.check()) == ["segments-left"]
    auditor.cleanup()
    box.wait_for(lambda: box.run(["test", "-e", segment], check=False).returncode == 1, "they are gone")
    box.run(["cmp", path, "/root/good.ts"])
    box.wait_for(lambda: auditor.check() == {}, "all is well", timeout=30)


def test_a_joined_file_that_is_gone(
    box: Box, ctl: Ctl, auditor: Auditor, made: dict[str, Any], steady: Steady
) -> None:
    box.run(["mv", made["runtime"]["path"], "/root/moved.ts"])
    assert kinds(auditor.check()) == ["result-gone"]
    auditor.cleanup("--dry-run")
    assert ctl.recording("spare")["runtime"]["path"] == made["runtime"]["path"]
    auditor.cleanup()
    assert auditor.check() == {}
    after = ctl.recording("spare")["runtime"]
    assert (after["state"], "path" in after, "was removed" in after["detail"]) == ("completed", False, True)


def test_a_directory_that_is_gone(box: Box, ctl: Ctl, source: LiveSource, auditor: Auditor, steady: Steady) -> None:
    """A disk that is not mounted: one line for all that is on it, and nothing is forgotten."""
    elsewhere = "/var/lib/streamvaultd/elsewhere"
    ctl("record", source.url("mounted"), "--name", "mounted", "--directory", elsewhere)
    source.control("mounted", end=True)
    wait_state(box, ctl, "mounted", "completed")
    box.run(["mv", elsewhere, "/var/lib/streamvaultd/unmounted"])
    found = auditor.check()
    assert kinds(found) == ["directory-gone"]
    assert auditor.cleanup()["errors"] == 1
    box.run(["mv", "/var/lib/streamvaultd/unmounted", elsewhere])
    assert auditor.check() == {}


# --- runs ----------------------------------------------------------------------------------------------------------


def test_a_run_outside_its_scope_and_a_second_writer(
    box: Box, ctl: Ctl, source: LiveSource, auditor: Auditor, steady: Steady
) -> None:
    """Both are named; neither is repaired, for nobody but the administrator knows what it is."""
    stream = ctl.recording("steady")["stream"]
    file = f"{RECORDINGS}/steady/stream_{stream}_segments/segment_001.ts"
    auditor.sh("cp /usr/bin/sleep /usr/local/bin/streamlink")
    service = ["systemd-run", "--quiet", "--uid=_streamvault"]
    try:
        box.run([*service, "--unit=outsider", "/usr/local/bin/streamlink", "1000"])
        box.run([*service, "--unit=intruder", "sh", "-c", f"exec 3>>{file}; exec sleep 1000"])
        found = auditor.check()
        assert kinds(found) == ["file-shared", "run-outside"], found
        assert found["file-shared", file]["rule"] == "I7"
        answer = auditor.cleanup()
        assert (answer["cleaned"], answer["errors"]) == (0, 2)
        assert all(detail["text"] for detail in answer["details"])
    finally:
        box.run(["systemctl", "stop", "outsider", "intruder"])
        box.run(["rm", "/usr/local/bin/streamlink"])
    assert auditor.check() == {}


def test_the_texts_for_people(box: Box, ctl: Ctl, auditor: Auditor, steady: Steady) -> None:
    plant_media(auditor, "/dev/null", "texts/stream_7001_segments", "segment_001.ts")
    shown = ctl("check", check=False)
    assert shown.returncode == 1
    first, _, last = shown.stdout.splitlines()
    assert first.startswith("P10 file-empty /var/lib/streamvaultd/recordings/texts/")
    assert first.endswith("Cleanup: the file is removed.")
    assert "1 violation." in last
    dry = ctl("cleanup", "--dry-run")
    assert dry.stdout.startswith("dry-run file-empty")
    done = ctl("cleanup")
    assert [line.split()[0] for line in done.stdout.splitlines()[:2]] == ["cleaned", "cleaned"]
    started = time.monotonic()
    assert ctl("check").stdout.startswith("0 violations.")
    print(f"a clean check takes {time.monotonic() - started:.1f} s")


def test_what_ran_through_all_of_it(box: Box, ctl: Ctl, auditor: Auditor, source: LiveSource, steady: Steady) -> None:
    ends_undisturbed(box, ctl, source, steady)
    assert auditor.check() == {}
