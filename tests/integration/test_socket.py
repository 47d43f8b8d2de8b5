# SPDX-License-Identifier: GPL-3.0-or-later
"""The socket of the installed daemon: systemd's own client calls every method, and nothing that comes disturbs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.fakes.livesource import LiveSource
from tests.integration.harness import Ctl, count
from tests.integration.test_main_job import wait_media, wait_state
from tests.testbed.box import Box

SOCKET = "/run/streamvaultd/io.streamvault.Recorder"
READONLY = f"{SOCKET}.readonly"
INTERFACE = "io.streamvault.Recorder"

FUZZ = r"""
import os, random, socket
PATH = "/run/streamvaultd/io.streamvault.Recorder"
rng = random.Random(1)
def connect():
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(20)
    client.connect(PATH)
    return client
for _ in range(200):  # garbage
    with connect() as client:
        try:
            client.sendall(rng.randbytes(rng.randrange(1, 5000)) + b"\0")
        except OSError:
            pass
with connect() as client:  # a message of a gigabyte
    try:
        for _ in range(1024):
            client.sendall(b"x" * (1 << 20))
    except OSError:
        pass
held = []
for _ in range(1000):  # a thousand connections, each with half a message
    try:
        client = connect()
        client.send(b'{"method":"io.streamvault.Recorder.List","parame')
    except OSError:
        pass
    held.append(client)
for client in held:
    client.close()
with connect() as client:  # half-closed
    client.sendall(b'{"method":"io.streamvault.Recorder.List"}\0')
    client.shutdown(socket.SHUT_WR)
    found = b""
    while data := client.recv(65536):
        found += data
    assert b'"recordings"' in found, found
"""


def call(box: Box, method: str, path: str = SOCKET, more: bool = False, **parameters: Any) -> Any:
    """One call by varlinkctl, which checks what it sends and gets against the interface."""
    argv = ["varlinkctl", "call", *(["--more"] if more else []), path, f"{INTERFACE}.{method}", json.dumps(parameters)]
    return json.loads(box.run([*argv, "--json=short"]).stdout)


def daemon_memory(box: Box) -> int:
    """Resident bytes of the daemon."""
    pid = box.run(["systemctl", "show", "--property=MainPID", "--value", "streamvaultd"]).stdout.strip()
    lines = box.run(["cat", f"/proc/{pid}/status"]).stdout.splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmRSS:"))


def test_systemds_client_calls_every_method_that_looks(box: Box, ctl: Ctl, source: LiveSource, channel: str) -> None:
    ctl("record", source.url(channel), "--name", "demo", "--duration", "4s")
    wait_state(box, ctl, "demo", "completed")
    shown = box.run(["varlinkctl", "introspect", SOCKET, INTERFACE]).stdout
    assert "method ListEvents" in shown
    recording = str(call(box, "Get", recording="demo")["recording"]["id"])
    for method in ("ListSegments", "Why", "ListSeams", "ListParts"):
        assert call(box, method, recording=recording)
    assert call(box, "GetSegment", recording=recording, segment=1)["segment"]["phase"] == "removed"
    assert call(box, "List", all=True)["recordings"]
    (stream,) = call(box, "ListStreams", streamer="demo")["streams"]
    assert call(box, "GetStream", stream=stream["id"])["stream"] == stream
    (job,) = call(box, "ListJobs", recording=recording)["jobs"]
    assert call(box, "GetJob", job=job["id"])["job"] == job
    events = call(box, "ListEvents", recording=recording)["events"]
    assert call(box, "GetEvent", event=events[0]["id"])["event"] == events[0]
    assert events[0]["kind"] == "recording-completed"
    assert call(box, "GetStatus")["recordings"] == 0
    assert call(box, "GetSettings")["settings"]
    assert call(box, "Verify", recording=recording)["verdict"] == "sound"
    assert call(box, "Check")["violations"] == []
    assert call(box, "Reload") == {"applied": True, "mistakes": []}
    first = box.run(["sh", "-c", f"timeout 5 varlinkctl call --more --json=short {SOCKET} {INTERFACE}.Subscribe "
                     f"'{json.dumps({'recording': recording})}' | head -n 1"]).stdout  # fmt: skip
    assert json.loads(first.lstrip("\x1e"))["recording"]["id"] == int(recording)


def test_whatever_comes_over_the_socket_disturbs_no_recording(
    box: Box, ctl: Ctl, source: LiveSource, channel: str
) -> None:
    ctl("record", source.url(channel), "--name", "demo")
    before = daemon_memory(box)
    box.write_file("/tmp/fuzz.py", FUZZ)
    box.run(["python3", "/tmp/fuzz.py"], timeout=150)
    wait_media(box, source, channel, 2)
    assert daemon_memory(box) - before < 64 << 20
    found = ctl.recording("demo")["runtime"]
    assert (found["state"], found["segments"], found["deaths"]) == ("recording", 1, 0)
    assert box.run(["systemctl", "show", "--property=NRestarts", "--value", "streamvaultd"]).stdout.strip() == "0"
    source.control(channel, end=True)
    wait_state(box, ctl, "demo", "completed")
    frames = count(box, ctl.recording("demo")["runtime"]["path"], source, channel)
    assert (frames.lost, frames.repeated, frames.foreign) == ((), 0, 0)


def test_the_read_only_socket_is_for_everybody_who_only_looks(box: Box, ctl: Ctl) -> None:
    others = ["runuser", "-u", "nobody", "--", "varlinkctl", "call", "--json=short"]
    refused = box.run([*others, SOCKET, f"{INTERFACE}.List", "{}"], check=False)
    assert refused.returncode != 0
    is_enabled = box.run(["systemctl", "is-enabled", "streamvaultd-readonly.socket"], check=False).stdout.strip()
    assert is_enabled == "disabled"
    box.run(["systemctl", "stop", "streamvaultd.service"])
    box.run(["systemctl", "start", "streamvaultd-readonly.socket", "streamvaultd.service"])
    found = box.run([*others, READONLY, f"{INTERFACE}.List", "{}"]).stdout
    assert "recordings" in json.loads(found)
    denied = box.run([*others, READONLY, f"{INTERFACE}.Stop", '{"recording": "demo"}'], check=False)
    assert denied.returncode != 0
    assert "PermissionDenied" in denied.stderr
    assert ctl("list").returncode == 0


@pytest.mark.parametrize("file", ["conf.d/zz.toml", "streamers.d/eve.toml"])
def test_systemctl_tells_that_a_reload_found_mistakes(box: Box, file: str) -> None:
    reload = ["systemctl", "reload", "streamvaultd"]
    box.run(reload)
    box.write_file(f"/etc/streamvaultd/{file}", "[streamer]\nurll = 1\n")
    refused = box.run(reload, check=False)
    assert refused.returncode != 0
    assert "journalctl" in refused.stderr
    assert box.run(["systemctl", "is-active", "streamvaultd"]).stdout == "active\n"
    box.run(["rm", f"/etc/streamvaultd/{file}"])
    box.run(reload)


def test_a_daemon_that_dies_while_systemd_waits_for_its_reload_is_replaced(box: Box, ctl: Ctl) -> None:
    """What waits for the reload would keep systemd from that, if it did not end with the daemon."""
    main_pid = ["systemctl", "show", "--property=MainPID", "--value", "streamvaultd"]
    before = box.run(main_pid).stdout
    box.run(["systemctl", "kill", "--kill-whom=main", "--signal=STOP", "streamvaultd"])
    reload = box.popen(["systemctl", "reload", "streamvaultd"])
    waiting = ["systemctl", "show", "--property=ControlPID", "--value", "streamvaultd"]
    box.wait_for(lambda: box.run(waiting).stdout != "0\n", "what waits for the reload runs")
    box.run(["systemctl", "kill", "--kill-whom=main", "--signal=KILL", "streamvaultd"])
    reload.communicate(timeout=60)
    assert reload.returncode != 0
    box.wait_for(lambda: box.run(main_pid).stdout not in (before, "0\n"), "another daemon is there")
    assert ctl("list").returncode == 0
