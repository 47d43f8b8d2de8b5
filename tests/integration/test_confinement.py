# SPDX-License-Identifier: GPL-3.0-or-later
"""A hostile source, and a streamlink that was taken over, on the installed package: nothing is reached (P13)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.fakes import intruder
from tests.fakes.livesource import LiveSource
from tests.integration.harness import CONFIG, SETTINGS, Ctl
from tests.integration.test_main_job import RECORDINGS, wait_state
from tests.testbed.box import Box

PLANTED = b"planted-" * 400
PLANTED_AT = "/var/lib/streamvaultd/secret"
PLAYLISTS = {
    "entry": "#EXTINF:2,\nfile://{secret}\n",
    "redirect": "#EXTINF:2,\n/redirect\n",
    "map": '#EXT-X-MAP:URI="file://{secret}"\n#EXTINF:2,\n/media\n',
}


class Handler(BaseHTTPRequestHandler):
    """A playlist that ended, of media and of what the site would like to see."""

    media = b""

    def do_GET(self) -> None:
        if self.path == "/redirect":
            self.send_response(302)
            self.send_header("Location", f"file://{PLANTED_AT}")
            self.end_headers()
            return
        body = self.media if self.path == "/media" else self.playlist().encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def playlist(self) -> str:
        wish = PLAYLISTS[self.path.strip("/").removesuffix(".m3u8")].format(secret=PLANTED_AT)
        head = "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:2\n"
        return f"{head}#EXTINF:2,\n/media\n{wish}#EXTINF:2,\n/media\n#EXT-X-ENDLIST\n"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name for it
        """Say nothing."""


@contextmanager
def hostile(source: LiveSource, channel: str) -> Iterator[str]:
    """A web server that asks for files; its URL."""
    source.channel(channel, {"elapsed": 10.0})
    handler = type("Hostile", (Handler,), {"media": source.channels[channel].media.segment(0).read_bytes()})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture
def planted(box: Box) -> Iterator[None]:
    """A file that the daemon's user can read."""
    box.path(PLANTED_AT).write_bytes(PLANTED)
    box.run(["chown", "_streamvault:_streamvault", PLANTED_AT])
    yield
    box.run(["rm", PLANTED_AT])


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("planted")
def test_no_file_gets_into_a_recording(box: Box, ctl: Ctl, source: LiveSource, channel: str) -> None:
    """Debian's streamlink obeys by itself, as the control shows."""
    user = "cd / && HOME=/tmp setpriv --reuid=_streamvault --clear-groups --regid=_streamvault"
    with hostile(source, channel) as url:
        for kind in PLAYLISTS:
            ctl("record", f"{url}/{kind}.m3u8", "--name", f"hostile-{kind}", "--no-block")
        for kind in PLAYLISTS:
            plain = f"{user} timeout 20 streamlink --stdout {url}/{kind}.m3u8 best >/run/control.{kind} || true"
            box.run(["sh", "-c", plain], timeout=60)
        for kind in PLAYLISTS:
            box.wait_for(partial(has_ended, ctl, f"hostile-{kind}"), "its end", timeout=200)
    leaked = {kind for kind in PLAYLISTS if PLANTED in box.path(f"/run/control.{kind}").read_bytes()}
    assert leaked >= {"entry", "redirect"}
    for kind in PLAYLISTS:
        files = [path for path in box.path(f"{RECORDINGS}/hostile-{kind}").rglob("*") if path.is_file()]
        for path in files:
            assert b"planted-" not in path.read_bytes(), path
    media = Path(ctl.recording("hostile-entry")["runtime"]["path"])
    assert box.path(str(media)).stat().st_size > 10_000
    assert "planted-" not in box.run(["journalctl", "--no-pager", "--all"]).stdout


def has_ended(ctl: Ctl, name: str) -> bool:
    return ctl.state(name) in ("completed", "stopped", "failed")


def has_media(box: Box, path: str) -> bool:
    return box.path(path).stat().st_size > 0


WRAPPER = """#!/usr/bin/python3 -I
import json, os, subprocess, sys, time
if "--version" in sys.argv:
    print("streamlink 8.6.3")
    sys.exit(0)
there = json.load(open("/usr/local/lib/intruder/targets.json"))
found = {}
for target in there["secrets"]:
    argv = [sys.executable, "-I", "/usr/local/lib/intruder/intruder.py", json.dumps({**there, "secret": target})]
    found[target] = json.loads(subprocess.run(argv, capture_output=True).stdout or "{}")
os.write(1, json.dumps(found).encode())
time.sleep(600)
"""


def journal_of(box: Box, segment: int) -> str:
    """The journal's file. By their groups segments could read it: what keeps them from it is Landlock."""
    machine = box.path("/etc/machine-id").read_text().strip()
    path = f"/var/log/journal/{machine}/system.journal"
    group = box.run(["getent", "group", "systemd-journal"]).stdout.split(":")[2]
    status = box.run(["grep", "^Groups:", f"/proc/{segment}/status"]).stdout
    assert group in status.split()
    user = ["setpriv", "--reuid=_streamvault", "--regid=_streamvault", "--init-groups"]
    assert box.run([*user, "head", "--bytes=8", path]).stdout == "LPKSHHRH"
    return path


def test_a_streamlink_that_was_taken_over_reaches_nothing(
    box: Box, ctl: Ctl, source: LiveSource, channel: str
) -> None:
    ctl("record", source.url(channel), "--name", "neighbour")
    neighbour = ctl.segments("neighbour")[0]
    daemon = box.run(["systemctl", "show", "--property=MainPID", "--value", "streamvaultd.service"]).stdout.strip()
    folder = box.path("/usr/local/lib/intruder")
    folder.mkdir(parents=True)
    (folder / "intruder.py").write_bytes(Path(intruder.__file__).read_bytes())
    (folder / "streamlink").write_text(WRAPPER)
    (folder / "streamlink").chmod(0o755)
    secrets = [
        "/var/lib/streamvaultd/streamvaultd.sqlite", neighbour["path"], "/etc/streamvaultd/conf.d/test.toml",
        "/etc/shadow", journal_of(box, neighbour["pid"]), "/run/systemd/notify",
    ]  # fmt: skip
    targets = {
        "secrets": secrets, "folder": "/var/lib/streamvaultd", "victim": daemon, "own": "",
        "socket": "/run/streamvaultd/io.streamvault.Recorder",
    }  # fmt: skip
    (folder / "targets.json").write_text(json.dumps(targets))
    box.write_file(CONFIG, SETTINGS + '\n[streamlink]\ncommand = "/usr/local/lib/intruder/streamlink"\n')
    ctl("reload")
    for victim, others in ((daemon, "/var/lib/streamvaultd"), (str(neighbour["pid"]), "/run/streamvaultd")):
        (folder / "targets.json").write_text(json.dumps({**targets, "victim": victim, "folder": others}))
        name = f"taken-{victim}"
        ctl("record", source.url(channel), "--name", name, check=False)
        segment = ctl.segments(name)[0]["path"]
        box.wait_for(partial(has_media, box, segment), "it has tried everything")
        tried = json.loads(box.path(segment).read_bytes())
        assert list(tried) == secrets
        for target, results in tried.items():
            assert len(results) > 30, results
            reached = sorted(attempt for attempt, result in results.items() if result == "reached")
            assert reached == [], target
        ctl("stop", name)
    assert ctl.state("neighbour") == "recording"
    box.write_file(CONFIG, SETTINGS)
    ctl("reload")
    source.control(channel, end=True)
    wait_state(box, ctl, "neighbour", "completed")


def test_nothing_is_missing_on_this_kernel(ctl: Ctl) -> None:
    assert ctl.json("status")["unconfined"] == []
