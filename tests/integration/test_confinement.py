# SPDX-License-Identifier: GPL-3.0-or-later
"""A hostile source, and a streamlink that was taken over, on the installed package: nothing is reached (P13)."""

from __future__ import annotations

import json
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from streamvaultd.recording.streamlink.command import Version, config_text
from tests.fakes import intruder
from tests.fakes.hostile import KINDS, hostile
from tests.fakes.livesource import LiveSource
from tests.fakes.media import MediaSpec
from tests.integration.harness import CONFIG, SETTINGS, Ctl
from tests.integration.test_main_job import RECORDINGS, wait_state
from tests.testbed.box import Box

PLANTED = b"planted-" * 400
PLANTED_AT = "/var/lib/streamvaultd/secret"
USER = "cd / && HOME=/tmp setpriv --reuid=_streamvault --clear-groups --regid=_streamvault"
ELSEWHERE = "127.0.0.2"
"""Stands in for every address that is closed; the sources are on 127.0.0.1, which their URLs name."""


@pytest.fixture(scope="module")
def media(source: LiveSource) -> bytes:
    source.channel("hostile", {"elapsed": 10.0})
    return source.channels["hostile"].media.segment(0).read_bytes()


@pytest.fixture
def planted(box: Box) -> Iterator[None]:
    """A file that the daemon's user can read."""
    box.path(PLANTED_AT).write_bytes(PLANTED)
    box.run(["chown", "_streamvault:_streamvault", PLANTED_AT])
    yield
    box.run(["rm", PLANTED_AT])


def record_all(box: Box, ctl: Ctl, urls: dict[str, str]) -> None:
    """Record them side by side, to their ends."""
    for name, url in urls.items():
        ctl("record", url, "--name", name, "--no-block")
    for name in urls:
        box.wait_for(partial(has_ended, ctl, name), "its end", timeout=200)


def recorded(box: Box, name: str) -> bytes:
    """All that became of a recording."""
    files = [path for path in box.path(f"{RECORDINGS}/{name}").rglob("*") if path.is_file()]
    return b"".join(path.read_bytes() for path in files)


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("planted")
def test_no_file_gets_into_a_recording(box: Box, ctl: Ctl, media: bytes) -> None:
    """Debian's streamlink obeys by itself, as the control shows.

    What Landlock lets a segment read is the system's, and the configuration of its own streamlink, with secrets.
    """
    own = "\n#EXTINF:2,\n".join(f"file:///proc/self/fd/{fd}" for fd in range(3, 16))
    with hostile(media) as served:
        urls = {kind.replace(".", "-"): served.naming(kind, f"file://{PLANTED_AT}") for kind in KINDS}
        urls["own"] = served.naming("entry.m3u8", own)
        urls["passwd"] = served.naming("entry.m3u8", "file:///etc/passwd")
        record_all(box, ctl, urls)
        box.write_file("/run/control.conf", "# its-own-options\n")
        for name, url in urls.items():
            plain = f"exec 9</run/control.conf; {USER} timeout 20 streamlink --config=/proc/self/fd/9 --stdout"
            box.run(["sh", "-c", f"{plain} '{url}' best >/run/control.{name} || true"], timeout=60)
    there = {"own": b"its-own-options", "passwd": b"root:x:0:0"}
    reached = {name for name in urls if there.get(name, b"planted-") in box.path(f"/run/control.{name}").read_bytes()}
    assert reached >= {"entry-m3u8", "redirect-m3u8", "map-m3u8", "base-mpd", "template-mpd", "own", "passwd"}
    for name in urls:
        found = recorded(box, name)
        for text in (b"planted-", b"default-stream", b"root:x:0:0"):
            assert text not in found, name
    for name in ("entry-m3u8", "redirect-m3u8", "own", "passwd"):
        assert recorded(box, name).count(media) >= 2, f"{name}: what is media is recorded all the same"
    journal = box.run(["journalctl", "--no-pager", "--all"]).stdout
    why = "".join(ctl("why", name, check=False).stdout for name in urls)
    assert "planted-planted" not in journal + why
    assert "root:x:0:0" not in journal + why


@pytest.mark.timeout(600)
def test_a_source_leads_to_no_closed_address(box: Box, ctl: Ctl, media: bytes) -> None:
    """The control is the same source where the settings allow the address."""
    for allow in ("", f'[network]\nallow = ["{ELSEWHERE}"]\n'):
        box.write_file(CONFIG, SETTINGS + allow)
        ctl("reload")
        with hostile(media) as served, hostile(media, ELSEWHERE) as closed:
            wishes = {kind: f"{closed.url}/{kind}" for kind in KINDS}
            suffix = "open" if allow else "closed"
            urls = {f"{kind.replace('.', '-')}-{suffix}": served.naming(kind, wishes[kind]) for kind in KINDS}
            record_all(box, ctl, urls)
            assert {path.strip("/") for path in closed.asked} == (set(KINDS) if allow else set())
        if not allow:
            for name in ("entry-m3u8-closed", "redirect-m3u8-closed", "map-m3u8-closed"):
                assert recorded(box, name).count(media) >= 1, name
    box.write_file(CONFIG, SETTINGS)
    ctl("reload")


@pytest.mark.timeout(600)
def test_nor_does_a_proxy_of_this_host(box: Box, ctl: Ctl, media: bytes) -> None:
    """Which would go anywhere by itself: it is not asked to."""
    with hostile(media) as served, hostile(media, ELSEWHERE) as closed, hostile(media) as proxy:
        box.write_file(CONFIG, f'{SETTINGS}\n[streamlink.options]\nhttp-proxy = "{proxy.url}"\n')
        ctl("reload")
        record_all(box, ctl, {"by-proxy": served.naming("entry.m3u8", f"{closed.url}/behind")})
        assert proxy.asked.count(f"{served.url}/media") == 2
        assert [path for path in proxy.asked if closed.url in path] == []
        plain = f"{USER} timeout 20 streamlink --http-proxy={proxy.url} --stdout"
        url = served.naming("entry.m3u8", f"{closed.url}/behind")
        box.run(["sh", "-c", f"{plain} '{url}' best >/dev/null || true"], timeout=60)
        assert f"{closed.url}/behind" in proxy.asked
    box.write_file(CONFIG, SETTINGS)
    ctl("reload")


@pytest.mark.timeout(600)
def test_names_and_certificates_work_confined(box: Box, ctl: Ctl, tmp_path: Path) -> None:
    """A name of /etc/hosts, a certificate of the box's own authority, and ffmpeg, which muxes; byte for byte."""
    trust(box, tmp_path)
    with LiveSource(MediaSpec(kind="separate", seconds=20)) as plain, over_tls(plain, tmp_path) as port:
        plain.channel("tls", {"elapsed": 12.0})
        plain.control("tls", end=True)
        url = f"https://{NAME}:{port}/tls/master.m3u8"
        box.write_file(CONFIG, SETTINGS + '[network]\nallow = ["127.0.0.1"]\n')
        ctl("reload")
        record_all(box, ctl, {"tls": url})
        box.write_file("/run/tls.conf", config_text(Version(7, 3), url, "best"))
        box.run(["sh", "-c", f"{USER} streamlink --config=/run/tls.conf --stdout >/run/tls.ts"], timeout=60)
        box.run(["sed", "-i", f"/{NAME}/d", "/etc/hosts"])
    box.write_file(CONFIG, SETTINGS)
    ctl("reload")
    expected = box.path("/run/tls.ts").read_bytes()
    assert len(expected) > 100_000
    assert box.path(ctl.recording("tls")["runtime"]["path"]).read_bytes() == expected


NAME = "source.test"


def trust(box: Box, folder: Path) -> None:
    """Make an authority and a certificate for the name; the box believes the one and knows the other."""
    certificate = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={NAME}"]
    paths = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    more = ["-addext", f"subjectAltName=DNS:{NAME}"]
    subprocess.run([*certificate, *paths, *more], check=True, capture_output=True)
    box.write_file("/usr/local/share/ca-certificates/source.crt", (folder / "cert.pem").read_bytes())
    box.run(["update-ca-certificates"], timeout=60)
    box.run(["sh", "-c", f"echo '127.0.0.1 {NAME}' >>/etc/hosts"])


@contextmanager
def over_tls(source: LiveSource, folder: Path) -> Iterator[int]:
    """The same source by https; its port."""

    class Forward(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with urllib.request.urlopen(source.address + self.path) as answer:  # noqa: S310 - of this test
                body = answer.read()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name for it
            """Say nothing."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    with ThreadingHTTPServer(("127.0.0.1", 0), Forward) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


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
