# SPDX-License-Identifier: GPL-3.0-or-later
"""The broker as root under a real systemd, asked by the service user and by others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.testbed.box import Box

AGENT = "/usr/local/lib/broker_agent.py"
DAEMON_GROUP = "/sys/fs/cgroup/system.slice/streamvaultd.service/cgroup.procs"
OTHER_GROUP = "/sys/fs/cgroup/init.scope/cgroup.procs"
BROKER_SOCKET = "unix:/run/streamvault-brokerd/io.streamvault.Broker"
RECORDER_SOCKET = "unix:/run/streamvaultd/io.streamvault.Recorder"
DEFINITIONS = "/usr/lib/python3/dist-packages/streamvaultd/varlink"
UNIT = "streamvault-700-001.scope"
# Runs the rest of its arguments as the user $1 in the control group $0
ENTER = 'echo $$ > "$0" && exec setpriv --reuid="$1" --regid=nogroup --init-groups -- /usr/bin/python3 "$2"'


class Agent:
    """broker_agent.py in a box."""

    def __init__(self, box: Box) -> None:
        self.box = box
        box.path(AGENT).write_text(Path(__file__).with_name("broker_agent.py").read_text())

    def __call__(self, *steps: dict[str, Any], user: str = "_streamvault", group: str = DAEMON_GROUP) -> list[Any]:
        done = self.box.run(["sh", "-c", ENTER, group, user, AGENT], input=json.dumps(steps))
        results: list[Any] = json.loads(done.stdout)
        return results


@pytest.fixture
def ask(box: Box) -> Iterator[Agent]:
    yield Agent(box)
    box.run(["sh", "-c", "systemctl stop 'streamvault-7*.scope' 'streamvault-job-7*.scope'; systemctl reset-failed"])


def show(box: Box, unit: str, *names: str) -> dict[str, str]:
    lines = box.run(["systemctl", "show", unit, *(f"--property={name}" for name in names)]).stdout.splitlines()
    return dict(line.split("=", 1) for line in lines)


def refused(result: dict[str, Any]) -> str:
    return f"{result['error']}: {result['text']}"


def test_a_process_of_the_daemon_is_moved_and_stopped(box: Box, ask: Agent) -> None:
    limits = {"memory_max": 1 << 29, "tasks_max": 9, "runtime_max_usec": 3_600_000_000}
    [started] = ask({"start": UNIT, "pid": "child", "limits": limits})
    group = f"/streamvault.slice/streamvault-recordings.slice/{UNIT}"
    assert started["control_group"] == group
    assert f"0::{group}\n" in box.run(["cat", f"/proc/{started['pid']}/cgroup"]).stdout
    expected = {
        "InvocationID": started["invocation_id"],
        "Description": "a test's segment",
        "Slice": "streamvault-recordings.slice",
        "MemoryMax": str(1 << 29),
        "MemorySwapMax": "0",
        "TasksMax": "9",
        "RuntimeMaxUSec": "1h",
        "TimeoutStopUSec": "10s",
        "KillMode": "control-group",
        "KillSignal": "15",
        "OOMPolicy": "stop",
        "RequiresMountsFor": "",
    }
    assert show(box, UNIT, *expected) == expected
    assert "streamvaultd.service" in show(box, UNIT, "After")["After"].split()
    stopped, again = ask({"stop": UNIT}, {"stop": UNIT})
    assert stopped == {}
    assert refused(again) == f"NoSuchUnit: cannot find unit '{UNIT}'"
    assert not box.path(f"/proc/{started['pid']}").exists()


def test_nothing_is_mounted_for_a_caller(box: Box, ask: Agent) -> None:
    """What fstab(5) holds back stays so; once it is mounted, the scope requires it."""
    box.write_file("/etc/fstab", "tmpfs /srv/held tmpfs noauto 0 0\n")
    box.run(["sh", "-c", "mkdir -p /srv/held && systemctl daemon-reload"])
    mounts = "/srv/held/recordings"
    ask({"start": UNIT, "pid": "child", "mounts_for": mounts})
    assert show(box, "srv-held.mount", "ActiveState") == {"ActiveState": "inactive"}
    ask({"stop": UNIT})
    box.run(["systemctl", "start", "srv-held.mount"])
    ask({"start": UNIT, "pid": "child", "mounts_for": mounts})
    assert show(box, UNIT, "RequiresMountsFor") == {"RequiresMountsFor": "/srv/held"}
    ask({"stop": UNIT})
    box.run(["sh", "-c", "systemctl stop srv-held.mount; rm /etc/fstab; systemctl daemon-reload"])


def test_a_job_gets_the_slice_of_jobs(box: Box, ask: Agent) -> None:
    unit = "streamvault-job-7.scope"
    ask({"start": unit, "pid": "child"})
    expected = {"Slice": "streamvault-jobs.slice", "CPUWeight": "20", "IOWeight": "20", "ActiveState": "active"}
    assert show(box, unit, *expected) == expected


def test_a_name_is_given_once(ask: Agent) -> None:
    _, second = ask({"start": UNIT, "pid": "child"}, {"start": UNIT, "pid": "child"})
    assert second["error"] == "UnitExists"


def test_processes_that_are_not_the_daemons_are_refused(box: Box, ask: Agent) -> None:
    by_root = int(box.run(["sh", "-c", "sleep 600 >/dev/null 2>&1 & echo $!"]).stdout)
    first, *others = ask(
        {"start": UNIT, "pid": "child"},
        {"start": "streamvault-700-002.scope", "pid": 1},
        {"start": "streamvault-700-003.scope", "pid": by_root},
        {"start": "streamvault-700-004.scope", "pid": "zombie"},
    )
    [moved_already] = ask({"start": "streamvault-700-005.scope", "pid": first["pid"]})
    [elsewhere] = ask({"start": "streamvault-700-006.scope", "pid": "child"}, group=OTHER_GROUP)
    assert [refused(each).rpartition(": ")[2] for each in (*others, moved_already, elsewhere)] == [
        "it is the init process",
        f"it does not belong to uid {uid_of(box, '_streamvault')} alone",
        "it has ended",
        "it is not in streamvaultd.service",
        "it is not in streamvaultd.service",
    ]
    box.run(["kill", str(by_root)])
    loaded = box.run(["systemctl", "list-units", "--all", "--plain", "--no-legend", "streamvault-700-*"]).stdout
    assert [line.split()[0] for line in loaded.splitlines()] == [UNIT]


def uid_of(box: Box, user: str) -> str:
    return box.run(["id", "--user", user]).stdout.strip()


def test_other_callers_are_refused(ask: Agent) -> None:
    [as_root] = ask({"stop": UNIT}, user="root")
    assert refused(as_root).startswith("PeerRefused: cannot serve uid 0: only the user of streamvaultd may call")
    [as_nobody] = ask({"stop": UNIT}, user="nobody")
    assert as_nobody["error"] == "ScopeFailed"
    assert as_nobody["text"].endswith("does not answer: permission denied")


def test_a_scope_that_ignores_the_stop_is_killed_and_leaves_its_result(box: Box, ask: Agent) -> None:
    _, stopped, listed, told, reset, listed_again = ask(
        {"start": UNIT, "pid": "stubborn"},
        {"stop": UNIT},
        {"list": True},
        {"watch": True},
        {"reset": UNIT},
        {"list": True},
    )
    assert (stopped, reset) == ({}, {})
    assert [UNIT, "failed", "timeout"] in listed
    assert UNIT not in [unit for unit, *_ in listed_again]
    assert [[result, state] for unit, result, state in told if unit == UNIT] == [
        ["success", "active"],
        ["success", "deactivating"],
        ["timeout", "deactivating"],
        ["timeout", "failed"],
    ]
    assert show(box, UNIT, "LoadState", "Result") == {"LoadState": "not-found", "Result": "success"}


def test_a_scope_that_somebody_has_frozen_is_stopped_all_the_same(box: Box, ask: Agent) -> None:
    """systemd itself stops nothing that is frozen."""
    ask({"start": UNIT, "pid": "child"})
    box.run(["systemctl", "freeze", UNIT])
    [stopped] = ask({"stop": UNIT})
    assert stopped == {}
    assert show(box, UNIT, "LoadState") == {"LoadState": "not-found"}


def test_a_broker_that_was_killed_is_there_for_the_next_call(box: Box, ask: Agent) -> None:
    ask({"start": UNIT, "pid": "child"})
    before = show(box, "streamvault-brokerd.service", "MainPID")
    box.run(["systemctl", "kill", "--signal=KILL", "streamvault-brokerd.service"])
    [stopped] = ask({"stop": UNIT})
    assert stopped == {}
    assert show(box, "streamvault-brokerd.service", "MainPID") != before


def test_a_refusal_is_in_the_journal_on_one_line(box: Box, ask: Agent) -> None:
    ask({"stop": "two\nlines.service"})
    entry = box.wait_journal("_SYSTEMD_UNIT=streamvault-brokerd.service", until=lambda e: "two?lines" in e["MESSAGE"])
    assert entry["PRIORITY"] == "4"
    assert entry["MESSAGE"].startswith("cannot use unit name 'two?lines.service'")


def test_varlinkctl_understands_the_services_and_their_definitions(box: Box) -> None:
    info = json.loads(box.run(["varlinkctl", "info", "--json=short", BROKER_SOCKET]).stdout)
    assert info["interfaces"] == ["org.varlink.service", "io.streamvault.Broker"]
    for socket, name in ((BROKER_SOCKET, "io.streamvault.Broker"), (RECORDER_SOCKET, "io.streamvault.Recorder")):
        shown = box.run(["varlinkctl", "introspect", socket, name]).stdout
        assert f"interface {name}" in shown
        box.run(["varlinkctl", "introspect", socket, "org.varlink.service"])
        box.run(["varlinkctl", "validate-idl", f"{DEFINITIONS}/{name}.varlink"])
    box.run(["varlinkctl", "validate-idl", f"{DEFINITIONS}/org.varlink.service.varlink"])
    call = ["varlinkctl", "call", "--json=short", RECORDER_SOCKET, "io.streamvault.Recorder.List", "{}"]
    assert json.loads(box.run(call).stdout) == {"recordings": []}
    wrong = box.run(["varlinkctl", "call", BROKER_SOCKET, "io.streamvault.Broker.StopScope", "{}"], check=False)
    assert wrong.returncode != 0
    assert "org.varlink.service.InvalidParameter" in wrong.stderr + wrong.stdout
