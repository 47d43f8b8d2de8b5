# SPDX-License-Identifier: GPL-3.0-or-later
"""The shim as a process: gate, exit record, journal, signals."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamvaultd.scopes.ports import Access, Command
from streamvaultd.scopes.shim import LINE_MAX, STOP_AGAIN
from tests.component.captures import FIELDS, Run, World, command_of, wait_readable, world


@pytest.fixture(name="at")
def _at() -> Iterator[World]:
    with world() as found:
        yield found


def sh(at: World, script: str, **more: object) -> Run:
    return at.start("/bin/sh", "-c", script, **more)


def test_the_record_tells_status_and_last_lines_and_the_journal_each_line(at: World) -> None:
    record = sh(at, "echo 'warning stream.hls: one' >&2; echo ' two' >&2; printf 'error: three' >&2; exit 42").ended()
    assert (record["status"], record["error"]) == (42, None)
    assert record["log"] == ["warning stream.hls: one", " two", "error: three"]
    assert record["maxRss"] > 0
    assert record["userUSec"] + record["systemUSec"] > 0
    entries = at.journal.entries()
    assert [(entry["PRIORITY"], entry["MESSAGE"]) for entry in entries] == [
        ("4", "warning stream.hls: one"), ("4", " two"), ("3", "error: three"),
    ]  # fmt: skip
    assert all(entry.items() >= FIELDS.items() for entry in entries)


def test_a_killed_command_is_told_by_its_signal(at: World) -> None:
    assert sh(at, "kill -9 $$").ended()["status"] == -signal.SIGKILL


def touching(at: World) -> Command:
    return command_of("/usr/bin/touch", str(at.folder / "ran"), rules=Access(write=(str(at.folder),)))


def test_a_gate_that_closes_starts_nothing(at: World) -> None:
    spawned = at.launcher.spawn(touching(at))
    os.close(spawned.gate_fd)
    assert Run(spawned).wait() is None
    assert not (at.folder / "ran").exists()
    assert at.journal.entries() == []


def test_an_abandoned_launch_leaves_no_process(at: World) -> None:
    spawned = at.launcher.spawn(touching(at))
    spawned.abandon()
    with pytest.raises(ProcessLookupError):
        os.kill(spawned.pid, 0)
    assert not (at.folder / "ran").exists()


def test_a_shim_that_is_asked_to_end_at_its_gate_does(at: World) -> None:
    spawned = at.launcher.spawn(command_of("/bin/true", label="1-001"))
    os.kill(spawned.pid, signal.SIGTERM)
    assert Run(spawned).wait() is None
    os.close(spawned.gate_fd)


def test_a_command_that_cannot_be_executed_is_told(at: World) -> None:
    record = at.start("/nonexistent/streamlink").ended()
    assert record["error"] == "cannot execute /nonexistent/streamlink: No such file or directory"
    assert at.journal.next() == {"PRIORITY": "3", "MESSAGE": record["error"], **FIELDS}


def test_lines_and_record_are_bounded_whatever_comes(at: World) -> None:
    record = at.record("fake://garbage", at.folder / "out").ended()
    assert record["status"] == 1
    messages = [entry["MESSAGE"] for entry in at.journal.entries()]
    assert messages
    # Each byte that is no UTF-8 becomes one replacement character.
    assert max(len(message) for message in messages) <= LINE_MAX


def test_many_lines_leave_the_last_ones(at: World) -> None:
    record = sh(at, "i=0; while [ $i -lt 500 ]; do i=$((i+1)); echo 'info cli: line '$i >&2; done").ended()
    assert record["log"] == [f"info cli: line {number}" for number in range(481, 501)]


def test_a_process_that_keeps_stderr_open_does_not_delay_the_record(at: World) -> None:
    run = at.record("fake://orphan", at.folder / "out")
    orphan = int(at.journal.next()["MESSAGE"].rpartition(" ")[2])
    assert run.ended()["status"] == 0
    os.kill(orphan, signal.SIGKILL)


def test_nothing_of_the_run_outlives_its_record(at: World) -> None:
    reader, writer = os.pipe()
    run = sh(at, "sleep 1000 & exit 0", stdout_fd=writer)
    os.close(writer)
    assert run.ended()["status"] == 0
    wait_readable(reader, "end of all who hold stdout")
    assert os.read(reader, 1) == b""
    os.close(reader)


def test_a_daemon_that_is_gone_does_not_hold_up_the_end(at: World) -> None:
    run = sh(at, "read x", stdin_fd=(pipe := os.pipe())[0])
    os.close(run.spawned.exit_fd)
    os.close(pipe[1])
    os.close(pipe[0])
    wait_readable(run.spawned.pidfd, "end of the shim")
    os.waitid(os.P_PIDFD, run.spawned.pidfd, os.WEXITED)
    os.close(run.spawned.pidfd)


def test_a_journal_that_is_not_there_holds_nothing_up(at: World) -> None:
    at.journal.socket.close()
    Path(at.journal.address).unlink()
    assert sh(at, "echo one >&2; exit 3").ended()["log"] == ["one"]


def test_a_journal_that_restarts_is_found_again(at: World) -> None:
    reader, writer = os.pipe()
    run = sh(at, "echo one >&2; read x; echo two >&2", stdin_fd=reader)
    os.close(reader)
    assert at.journal.next()["MESSAGE"] == "one"
    at.journal.restart()
    os.write(writer, b"go\n")
    os.close(writer)
    assert at.journal.next()["MESSAGE"] == "two"
    assert run.ended()["status"] == 0


def test_a_journal_that_does_not_read_holds_nothing_up(at: World) -> None:
    at.journal.fill()
    record = sh(at, "i=0; while [ $i -lt 500 ]; do i=$((i+1)); echo line $i >&2; done").ended()
    assert record["log"][-1] == "line 500"


def test_a_command_that_waits_after_one_term_gets_another(at: World) -> None:
    run = at.record("fake://deaf", at.folder / "out")
    assert at.journal.next()["MESSAGE"] == "info cli: Opening stream: best (hls)"
    begun = time.monotonic()
    run.stop()
    assert run.ended()["status"] == 130
    assert time.monotonic() - begun >= STOP_AGAIN


def test_a_hangup_means_nothing(at: World) -> None:
    run = at.record("fake://stall", at.folder / "out")
    at.journal.next()
    os.kill(run.spawned.pid, signal.SIGHUP)
    run.stop()
    assert run.ended()["status"] == 130


def test_the_command_starts_with_default_signals_and_as_the_first_to_be_killed(at: World) -> None:
    script = """
        read score </proc/self/oom_score_adj; echo $score >&2
        while read line; do case "$line" in SigIgn*|SigBlk*) echo "$line" >&2;; esac; done </proc/self/status
    """
    assert sh(at, script).ended()
    score, *signals = [entry["MESSAGE"] for entry in at.journal.entries()]
    assert int(score) >= 500
    # Signals 1 to 31; those above are the C library's, and whoever started the tests may have ignored one.
    assert [int(line.split()[1], 16) & 0x7FFFFFFF for line in signals] == [0, 0]


def test_one_that_is_spare_is_killed_before_the_others(at: World) -> None:
    script = "read score </proc/self/oom_score_adj; echo $score >&2"
    for rules in (Access(), Access(spare=True)):
        assert sh(at, script, rules=rules).ended()
    plain, spare = [int(entry["MESSAGE"]) for entry in at.journal.entries()]
    assert 500 <= plain < 900 <= spare


def test_the_command_gets_its_descriptors_and_no_others(at: World) -> None:
    reader, writer = os.pipe()
    # The fourth is the folder that ls reads.
    assert sh(at, "exec ls /proc/self/fd >&2", extra_fds=[writer]).ended()
    assert {entry["MESSAGE"] for entry in at.journal.entries()} == {"0", "1", "2", "3", str(writer)}
    os.close(reader)
    os.close(writer)


def test_the_shim_lets_go_of_the_commands_files(at: World) -> None:
    run = at.record("fake://stall", at.folder / "out")
    at.journal.next()
    held = {str(link.readlink()) for link in Path(f"/proc/{run.spawned.pid}/fd").iterdir()}
    assert not [name for name in held if name == str(at.folder / "out") or name.startswith("/memfd:")]
    run.stop()
    assert run.ended()["status"] == 130


def test_the_command_sees_nothing_of_the_daemons_surroundings(at: World) -> None:
    # From the record: of more lines at a time than a socket's queue is long (max_dgram_qlen) the journal loses some
    where, mask, *environment = sh(at, "pwd >&2; umask >&2; exec env >&2").ended()["log"]
    assert (where, mask) == ("/", "0027")
    names = {line.partition("=")[0] for line in environment}
    assert names - {"PWD", "OLDPWD", "SHLVL", "_"} == {
        "PATH", "LANG", "PYTHONUNBUFFERED",
        "HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR", "TMPDIR",
    }  # fmt: skip


def test_a_command_has_what_was_added_to_its_environment_and_no_other_has(at: World) -> None:
    asked = "echo ${MALLOC_ARENA_MAX-none} >&2"
    assert sh(at, asked, environment={"MALLOC_ARENA_MAX": "1"}).ended()["log"] == ["1"]
    assert sh(at, asked).ended()["log"] == ["none"]


def test_secrets_and_credentials_stay_out_of_journal_and_record(at: World) -> None:
    run = sh(at, "echo 'error: http://me:pw@host/x?token=abc says hunter22' >&2", secrets=["hunter22"])
    assert run.ended()["log"] == ["error: http://***@host/x?*** says ***"]
    assert at.journal.next()["MESSAGE"] == "error: http://***@host/x?*** says ***"
