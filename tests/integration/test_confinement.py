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
from tests.integration.test_main_job import RECORDINGS, wait_state, wait_writing
from tests.testbed.box import Box

PLANTED = b"planted-" * 400
PLANTED_AT = "/var/lib/streamvaultd/secret"
USER = "cd / && HOME=/tmp setpriv --reuid=_streamvault --clear-groups --regid=_streamvault"
HLS = [kind for kind in KINDS if kind.endswith(".m3u8")]
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
    """Record them side by side, each until its first streamlink has ended, or does not get anywhere."""
    for name, url in urls.items():
        ctl("record", url, "--name", name, "--no-block")
    for name in urls:
        box.wait_for(partial(has_run, ctl, name), "its end", timeout=100)
        ctl("stop", name, "--wait", check=False)


def has_run(ctl: Ctl, name: str) -> bool:
    return any("endedAt" in segment for segment in ctl.segments(name))


def recorded(box: Box, name: str) -> bytes:
    """All that became of a recording."""
    files = [path for path in box.path(f"{RECORDINGS}/{name}").rglob("*") if path.is_file()]
    return b"".join(path.read_bytes() for path in files)


@pytest.mark.timeout(1500)
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
        plain = f"exec 9</run/control.conf; {USER} timeout 60 streamlink --config=/proc/self/fd/9 --stdout"
        urls["own"] = served.naming("entry.m3u8", "file:///proc/self/fd/9")
        control = [f"({plain} '{url}' best >/run/control.{name}) &" for name, url in urls.items()]
        box.run(["sh", "-c", "\n".join([*control, "wait"])], timeout=120)
    there = {"own": b"its-own-options", "passwd": b"root:x:0:0"}
    reached = {name for name in urls if there.get(name, b"planted-") in box.path(f"/run/control.{name}").read_bytes()}
    assert reached >= {"entry-m3u8", "redirect-m3u8", "map-m3u8", "base-mpd", "template-mpd", "own", "passwd"}
    for name in urls:
        found = recorded(box, name)
        for text in (b"planted-", b"default-stream", b"root:x:0:0"):
            assert text not in found, name
    for name in ("entry-m3u8", "redirect-m3u8", "own", "passwd"):
        assert media in recorded(box, name), f"{name}: what is media is recorded all the same"
    journal = box.run(["journalctl", "--no-pager", "--all"]).stdout
    why = "".join(ctl("why", name, check=False).stdout for name in urls)
    assert "planted-planted" not in journal + why
    assert "root:x:0:0" not in journal + why


@pytest.mark.timeout(1500)
def test_a_source_leads_to_no_closed_address(box: Box, ctl: Ctl, media: bytes) -> None:
    """The control is the same source where the settings allow the address."""
    for allow in ("", f'[network]\nallow = ["{ELSEWHERE}"]\n'):
        box.write_file(CONFIG, SETTINGS + allow)
        ctl("reload")
        with hostile(media) as served, hostile(media, ELSEWHERE) as closed:
            wishes = {kind: f"{closed.url}/of-{kind}" for kind in HLS}
            suffix = "open" if allow else "closed"
            urls = {f"{kind.replace('.', '-')}-{suffix}": served.naming(kind, wishes[kind]) for kind in HLS}
            record_all(box, ctl, urls)
            assert set(closed.asked) == ({f"/of-{kind}" for kind in HLS} if allow else set())
        if not allow:
            for name in ("entry-m3u8-closed", "redirect-m3u8-closed", "map-m3u8-closed"):
                assert media in recorded(box, name), name
    box.write_file(CONFIG, SETTINGS)
    ctl("reload")


CONNECT = """
import socket, sys
sys.path[:0] = sys.argv[1:]
try:
    import streamvault_guard
except ModuleNotFoundError:
    pass
for address in ("127.0.0.1", "127.0.0.2"):
    with socket.socket() as out:
        out.settimeout(1)
        try:
            out.connect((address, 9))
        except OSError as error:
            print(type(error).__name__)
"""
GUARD = "/usr/lib/python3/dist-packages/streamvaultd/recording/streamlink/guard"


def test_a_closed_address_is_refused_at_once(box: Box, ctl: Ctl, source: LiveSource, channel: str) -> None:
    """By itself streamlink would wait for an answer, five times, and hold up all that comes after it."""
    ctl("record", source.url(channel), "--name", "refused")
    unit = ctl.segments("refused")[0]["unit"]
    group = box.run(["systemctl", "show", "--property=ControlGroup", "--value", unit]).stdout.strip()
    found = {}
    for guard in ("/nowhere", GUARD):
        enter = f'echo $$ >"/sys/fs/cgroup{group}/cgroup.procs" && python3 -I -c "$0" "$@"'
        found[guard] = box.run(["sh", "-c", enter, CONNECT, guard]).stdout.split()
    ctl("stop", "refused")
    assert found["/nowhere"] == ["ConnectionRefusedError", "TimeoutError"]
    assert found[GUARD] == ["ConnectionRefusedError", "PermissionError"]


@pytest.mark.timeout(1500)
def test_nor_does_a_proxy_of_this_host(box: Box, ctl: Ctl, media: bytes) -> None:
    """Which would go anywhere by itself: it is not asked to."""
    with hostile(media) as served, hostile(media, ELSEWHERE) as closed, hostile(media) as proxy:
        box.write_file(CONFIG, f'{SETTINGS}\n[streamlink.options]\nhttp-proxy = "{proxy.url}"\n')
        ctl("reload")
        record_all(box, ctl, {"by-proxy": served.naming("entry.m3u8", f"{closed.url}/behind")})
        assert f"{served.url}/media" in proxy.asked
        assert [path for path in proxy.asked if closed.url in path] == []
        plain = f"{USER} timeout 20 streamlink --http-proxy={proxy.url} --stdout"
        url = served.naming("entry.m3u8", f"{closed.url}/behind")
        box.run(["sh", "-c", f"{plain} '{url}' best >/dev/null || true"], timeout=60)
        assert f"{closed.url}/behind" in proxy.asked
    box.write_file(CONFIG, SETTINGS)
    ctl("reload")


@pytest.mark.timeout(1500)
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


def has_media(box: Box, path: str) -> bool:
    return box.path(path).stat().st_size > 0


WRAPPER = """#!/usr/bin/python3 -I
import json, os, signal, subprocess, sys, time
if "--version" in sys.argv:
    print("streamlink 8.6.3")
    sys.exit(0)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.execv("/usr/bin/sleep", ["intruder-lingers", "600"])
    os._exit(0)
os.wait()
there = json.load(open("/usr/local/lib/intruder/targets.json"))
shim, found = str(os.getppid()), []
with open("/proc/self/cgroup") as file:
    group = "/sys/fs/cgroup" + file.read().strip().rpartition("::")[2]
secrets, victims = there["secrets"], [*there["victims"], shim]
for secret, victim in [*((secret, victims[0]) for secret in secrets), *((secrets[0], pid) for pid in victims[1:])]:
    folder = there["folder"] if victim == victims[0] else "/run/streamvaultd"
    given = json.dumps({**there, "folder": folder, "secret": secret, "victim": victim, "group": group})
    argv = [sys.executable, "-I", "/usr/local/lib/intruder/intruder.py", given]
    found.append(json.loads(subprocess.run(argv, capture_output=True, close_fds=False).stdout or "{}"))
os.write(1, json.dumps(found).encode())
time.sleep(600)
"""
PROGRAMS = "/usr/local/lib/intruder"
SOCKETS = {
    "the daemon": "/run/streamvaultd/io.streamvault.Recorder",
    "the broker": "/run/streamvault-brokerd/io.streamvault.Broker",
    "the probe": "/run/streamvault-probe/socket",
}
BY_OWNERS = {
    "write to /run", "move a process into its group", "raise its own memory limit", "mount a file system",
    "enter another's namespaces",
}  # fmt: skip
"""What no ordinary user may, confined or not."""


def run_alone(box: Box) -> dict[str, str]:
    """The control: the same program and user in the same box, with nothing around it; its targets are stand-ins."""
    box.run(["install", "-d", "-o", "_streamvault", "/run/control", "/run/control/own", "/run/control/folder"])
    box.run(
        ["sh", "-c", "mkfifo /run/control/pipe; echo secret >/run/control/folder/secret; chmod -R a+rwX /run/control"]
    )
    box.run(["chown", "_streamvault", "/run/control/folder/secret"])
    given = {
        "secret": "/run/control/folder/secret", "folder": "/run/control/folder", "own": "/run/control/own",
        "sockets": SOCKETS, "victim": "VICTIM",
        "group": "/sys/fs/cgroup/init.scope",
    }  # fmt: skip
    script = f"""
        exec 7<>/run/control/pipe
        {USER} sleep 600 & victim=$!
        {USER} python3 -I {PROGRAMS}/intruder.py "$(echo "$0" | sed "s/VICTIM/$victim/")"
        kill $victim
    """
    tried: dict[str, str] = json.loads(box.run(["sh", "-c", script, json.dumps(given)]).stdout)
    return tried


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
    """The control is the same program where nothing confines it; the table has both."""
    ctl("record", source.url(channel), "--name", "neighbour")
    neighbour = ctl.segments("neighbour")[0]
    daemon = box.run(["systemctl", "show", "--property=MainPID", "--value", "streamvaultd.service"]).stdout.strip()
    folder = box.path(PROGRAMS)
    folder.mkdir(parents=True)
    (folder / "intruder.py").write_bytes(Path(intruder.__file__).read_bytes())
    (folder / "streamlink").write_text(WRAPPER)
    (folder / "streamlink").chmod(0o755)
    (manifest,) = box.run(["find", RECORDINGS, "-path", "*/neighbour/*", "-name", ".stream_*.json"]).stdout.split()
    targets = {
        "secrets": [
            "/var/lib/streamvaultd/streamvaultd.sqlite", neighbour["path"], manifest,
            "/etc/streamvaultd/conf.d/test.toml", "/run/credentials/streamvaultd.service", "/etc/shadow",
            journal_of(box, neighbour["pid"]),
        ],
        "folder": "/var/lib/streamvaultd", "victims": [daemon, str(neighbour["pid"])], "own": "", "sockets": SOCKETS,
    }  # fmt: skip
    (folder / "targets.json").write_text(json.dumps(targets))
    box.write_file(CONFIG, SETTINGS + f'\n[streamlink]\ncommand = "{PROGRAMS}/streamlink"\n')
    ctl("reload")
    ctl("record", source.url(channel), "--name", "taken", check=False)
    segment = ctl.segments("taken")[0]["path"]
    box.wait_for(partial(has_media, box, segment), "it has tried everything", timeout=60)
    rounds = json.loads(box.path(segment).read_bytes())
    assert len(rounds) == len(targets["secrets"]) + 2
    alone = run_alone(box)
    print_table(alone, rounds)
    for results in rounds:
        assert results.keys() == alone.keys()
        assert sorted(attempt for attempt, result in results.items() if result == "reached") == []
    assert {attempt for attempt, result in alone.items() if result != "reached"} == BY_OWNERS
    lingers = ["pgrep", "--full", "--count", "^intruder-lingers"]
    assert box.run(lingers).stdout.strip() == "1"
    ctl("stop", "taken", "--wait")
    assert box.run(lingers, check=False).stdout.strip() == "0"
    assert ctl.state("neighbour") == "recording"
    box.write_file(CONFIG, SETTINGS)
    ctl("reload")
    source.control(channel, end=True)
    wait_state(box, ctl, "neighbour", "completed")


def print_table(alone: dict[str, str], rounds: list[dict[str, str]]) -> None:
    """Attempt, what became of it alone, and what stopped it in a segment."""
    for attempt, result in alone.items():
        confined = sorted({tried[attempt].partition(":")[0] for tried in rounds})
        print(f"{attempt:<48} | {result[:40]:<40} | {', '.join(confined)}")


ASK = """
import json, os, socket, sys
found = []
for path, method in (("/run/streamvaultd/io.streamvault.Recorder", "io.streamvault.Recorder.GetStatus"),
                     ("/run/streamvault-brokerd/io.streamvault.Broker", "io.streamvault.Broker.StopScope")):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        try:
            question = {"method": method, "parameters": json.loads(sys.argv[1])[path]}
            client.sendall(json.dumps(question).encode() + b"\\0")
        except BrokenPipeError:
            pass  # it is refused before it has asked
        found.append(json.loads(client.recv(1 << 20).split(b"\\0")[0]).get("error", "").rpartition(".")[2])
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
    for line in sys.argv[2:]:
        client.sendto(line.encode(), "/run/systemd/journal/socket")
print(json.dumps(found), flush=True)
sys.stdin.read()
"""


@contextmanager
def asked_from(box: Box, group: str, *lines: str) -> Iterator[list[str]]:
    """Ask daemon and broker as the service's user in a control group, and send lines to the journal: the errors.

    The process stays meanwhile, so that journald can see where it is.
    """
    parameters = {
        "/run/streamvaultd/io.streamvault.Recorder": {},
        "/run/streamvault-brokerd/io.streamvault.Broker": {"name": "streamvault-999999-001.scope"},
    }
    enter = f'echo $$ >"/sys/fs/cgroup$0/cgroup.procs" && {USER} python3 -I -c "$@"'
    command = ["sh", "-c", enter, group, ASK, json.dumps(parameters), *lines]
    process = box.popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield json.loads(process.stdout.readline())
    finally:
        process.communicate(timeout=20)


def test_what_a_scope_says_counts_for_itself_alone(box: Box, ctl: Ctl, source: LiveSource, channel: str) -> None:
    """As a browser could that was taken over: it has Unix sockets. The control is another process of the same user."""
    for name in ("victim", "speaker"):
        ctl("record", source.url(f"{channel}-{name}"), "--name", name)
        wait_writing(box, ctl, name, 1)
    segments = {name: ctl.segments(name)[0] for name in ("victim", "speaker")}
    group = box.run(
        ["systemctl", "show", "--property=ControlGroup", "--value", segments["speaker"]["unit"]]
    ).stdout.strip()
    lines = [
        f"SYSLOG_IDENTIFIER=streamlink\nPRIORITY=3\nSTREAMVAULT_RECORDING={ctl.recording(name)['id']}\n"
        "STREAMVAULT_SEGMENT=1\nMESSAGE=error stream.hls: Failed to fetch segment 3: timed out\n"
        for name in ("victim", "speaker")
    ]
    oom = f"_PID=1\nUNIT={segments['victim']['unit']}\nMESSAGE_ID=fe6faa94e7774663a0da52717891d8ef\nMESSAGE=killed\n"
    with asked_from(box, "/init.scope") as errors:
        assert errors == ["", "NoSuchUnit"]
    with asked_from(box, group, oom, *lines) as errors:
        assert errors == ["PermissionDenied", "PeerRefused"]
        box.wait_for(lambda: len(ctl.segments("speaker")) > 1, "its own line is believed", timeout=20)
    assert len(ctl.segments("victim")) == 1
    for name in ("victim", "speaker"):
        source.control(f"{channel}-{name}", end=True)
        wait_state(box, ctl, name, "completed")
    assert ctl.segments("victim")[0]["cause"] == "source-ended"


def test_nothing_is_missing_on_this_kernel(ctl: Ctl) -> None:
    assert ctl.json("status")["unconfined"] == []
