# SPDX-License-Identifier: GPL-3.0-or-later
"""A hostile source, and a streamlink that was taken over, on the installed package: nothing is reached (P13)."""

from __future__ import annotations

import json
import shlex
import ssl
import subprocess
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from streamvaultd.recording.streamlink.command import RECOMMENDED, Version, config_text, parse_version
from tests.fakes import intruder
from tests.fakes.hostile import KINDS, hostile
from tests.fakes.livesource import LiveSource
from tests.fakes.media import MediaSpec
from tests.integration.harness import Ctl
from tests.integration.test_main_job import RECORDINGS, settings, wait_state, wait_writing
from tests.testbed.box import Box

PLANTED = b"planted-" * 400
PLANTED_AT = "/var/lib/streamvaultd/secret"
USER = "cd / && HOME=/tmp setpriv --reuid=_streamvault --clear-groups --regid=_streamvault"
HLS = [kind for kind in KINDS if kind.endswith(".m3u8")]
ELSEWHERE = "127.0.0.2"
"""Stands in for every address that is closed; the sources are on 127.0.0.1, which their URLs name."""
FORMS = ("ts", "fmp4", "aes", "separate")
OBEYED = {
    "debian": frozenset({"entry-m3u8", "redirect-m3u8", "map-m3u8", "base-mpd", "template-mpd", "own", "passwd"}),
    "newest": frozenset(),
}
"""Where a streamlink by itself hands out files of the machine that it runs on."""
DEBIANS = Version(7, 3, 0)
PRIVATE = "/var/lib/streamvault-streamlink"
SOON = '\n[streamlink.options]\nstream-timeout = "10"\n'
"""DASH waits so long for what it could not fetch."""


@dataclass(frozen=True)
class Streamlink:
    """The one that the box records with; the control runs `command` with nothing around it."""

    version: Version
    command: str

    def __str__(self) -> str:
        return "debian" if self.version == DEBIANS else "newest"


@pytest.fixture(scope="module", params=["debian", "newest"])
def streamlink(request: pytest.FixtureRequest, box: Box) -> Iterator[Streamlink]:
    """Debian's, and the newest, which is installed as people install it."""
    ctl = Ctl(box)
    told = ctl.json("streamlink", "status" if request.param == "debian" else "install", timeout=300)
    version = parse_version(box.run([told["command"], "--version"]).stdout)
    assert version is not None
    assert version == DEBIANS if request.param == "debian" else version >= RECOMMENDED
    used = Streamlink(version, told["command"])
    assert_used(ctl, used)
    yield used
    assert_used(ctl, used)
    if request.param == "newest":
        box.run(["rm", "-r", f"{PRIVATE}/current", f"{PRIVATE}/versions"])
        ctl("reload")


@contextmanager
def taken_over(box: Box, ctl: Ctl, streamlink: Streamlink, program: str) -> Iterator[None]:
    """What is started meanwhile runs this Python program in place of streamlink, with the rules of streamlink."""
    if streamlink.version == DEBIANS:
        path, shebang, before = f"{PROGRAMS}/streamlink", "#!/usr/bin/python3 -I", b""
        box.run(["mkdir", "-p", PROGRAMS])
    else:
        path, before = streamlink.command, box.path(streamlink.command).read_bytes()
        shebang = before.decode().splitlines()[0]
    version = f'import sys\nif "--version" in sys.argv:\n    sys.exit(print("streamlink {streamlink.version}"))\n'
    box.path(path).write_text(f"{shebang}\n{version}{program}")
    box.path(path).chmod(0o755)
    try:
        with settings(box, f'[streamlink]\ncommand = "{path}"\n'):
            assert_used(ctl, Streamlink(streamlink.version, path))
            yield
    finally:
        if before:
            box.path(path).write_bytes(before)


def assert_used(ctl: Ctl, streamlink: Streamlink) -> None:
    """So that none of these tests is one of the other streamlink."""
    told = ctl.json("status")
    assert (told["streamlinkVersion"], told["streamlinkCommand"]) == (str(streamlink.version), streamlink.command)


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
    side_by_side(box, (["streamvaultctl", "record", url, "--name", name, "--no-block"] for name, url in urls.items()))
    box.wait_for(lambda: urls.keys() <= have_run(ctl), "their ends", timeout=100)
    side_by_side(box, (["streamvaultctl", "stop", name, "--wait"] for name in urls))


def have_run(ctl: Ctl) -> set[str]:
    """Those whose first streamlink has ended."""
    return {
        each["context"]["streamer"]
        for each in ctl.json("list", "--all")
        if each["runtime"]["segments"] > 1 or each["runtime"]["state"] not in ("starting", "recording")
    }


def side_by_side(box: Box, commands: Iterable[list[str]], timeout: float = 120) -> str:
    """Run them at the same time, each to its end, whatever comes of it; what they printed."""
    script = "".join(f"{shlex.join(command)} &\n" for command in commands)
    return box.run(["sh", "-c", f"{script}wait"], timeout=timeout).stdout


def recorded(box: Box, name: str) -> bytes:
    """All that became of a recording."""
    files = [path for path in box.path(f"{RECORDINGS}/{name}").rglob("*") if path.is_file()]
    return b"".join(path.read_bytes() for path in files)


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("planted")
def test_no_file_gets_into_a_recording(box: Box, ctl: Ctl, media: bytes, streamlink: Streamlink) -> None:
    """Debian's streamlink obeys by itself, as the control shows; the newest where OBEYED says.

    What Landlock lets a segment read is the system's, and the configuration of its own streamlink, with secrets.
    """
    own = "\n#EXTINF:2,\n".join(f"file:///proc/self/fd/{fd}" for fd in range(3, 16))
    with hostile(media) as served, settings(box, SOON):
        wishes = {kind.replace(".", "-"): (kind, f"file://{PLANTED_AT}") for kind in KINDS}
        wishes |= {"own": ("entry.m3u8", own), "passwd": ("entry.m3u8", "file:///etc/passwd")}
        http = {
            f"{kind.replace('.', '-')}-http": (kind, f"{served.url}/media") for kind in ("redirect.m3u8", "base.mpd")
        }
        urls = {f"{name}-{streamlink}": served.naming(*wish) for name, wish in (wishes | http).items()}
        plain = {name: served.naming(*wish) for name, wish in wishes.items()}
        plain["own"] = served.naming("entry.m3u8", "file:///proc/self/fd/9")
        with running_alone(box, streamlink, plain) as alone:
            record_all(box, ctl, urls)
    found = {name: recorded(box, f"{name}-{streamlink}") for name in (wishes | http)}
    there = {"own": b"its-own-options", "passwd": b"root:x:0:0"}
    reached = {name for name in wishes if there.get(name, b"planted-") in alone[name]}
    assert reached == OBEYED[str(streamlink)]
    for name in wishes:
        for text in (b"planted-", b"default-stream", b"root:x:0:0"):
            assert text not in found[name], name
    for name in ("entry-m3u8", "redirect-m3u8", "own", "passwd"):
        assert media in found[name], f"{name}: what is media is recorded all the same"
    for name, count in (("redirect-m3u8-http", 3), ("base-mpd-http", 1)):
        assert found[name].startswith(media * count), name
    journal = box.run(["journalctl", "--no-pager", "--all"]).stdout
    why = side_by_side(box, (["streamvaultctl", "why", name] for name in urls))
    assert all(f"{kind.partition('.')[0]}" in why for kind in KINDS)
    assert "planted-planted" not in journal + why
    assert "root:x:0:0" not in journal + why


@contextmanager
def running_alone(box: Box, streamlink: Streamlink, urls: dict[str, str]) -> Iterator[dict[str, bytes]]:
    """The control, meanwhile: the same program and user with nothing around it; at the end what it has fetched."""
    box.write_file("/run/control.conf", "# its-own-options\n")
    plain = f"exec 9</run/control.conf; {USER} timeout 60 {streamlink.command} --config=/proc/self/fd/9 --stdout"
    lines = [f"({plain} --stream-timeout=10 '{url}' best >/run/control.{name}) &" for name, url in urls.items()]
    process = box.popen(["sh", "-c", "\n".join([*lines, "wait"])])
    fetched: dict[str, bytes] = {}
    try:
        yield fetched
    finally:
        process.communicate(timeout=120)
    fetched |= {name: box.path(f"/run/control.{name}").read_bytes() for name in urls}


@pytest.mark.timeout(600)
def test_a_source_leads_to_no_closed_address(box: Box, ctl: Ctl, media: bytes, streamlink: Streamlink) -> None:
    """The control is the same source where the settings allow the address."""
    for suffix, allow in (("closed", ""), ("open", f'[network]\nallow = ["{ELSEWHERE}"]\n')):
        with settings(box, allow), hostile(media) as served, hostile(media, ELSEWHERE) as closed:
            wishes = {kind: f"{closed.url}/of-{kind}" for kind in HLS}
            names = {kind: f"{kind.replace('.', '-')}-{suffix}-{streamlink}" for kind in HLS}
            record_all(box, ctl, {names[kind]: served.naming(kind, wishes[kind]) for kind in HLS})
            assert set(closed.asked) == ({f"/of-{kind}" for kind in HLS} if allow else set())
        if not allow:
            for kind in ("entry.m3u8", "redirect.m3u8", "map.m3u8"):
                assert media in recorded(box, names[kind]), kind


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


@pytest.mark.timeout(600)
def test_nor_does_a_proxy_of_this_host(box: Box, ctl: Ctl, media: bytes, streamlink: Streamlink) -> None:
    """Which would go anywhere by itself: it is not asked to."""
    with hostile(media) as served, hostile(media, ELSEWHERE) as closed, hostile(media) as proxy:
        url = served.naming("entry.m3u8", f"{closed.url}/behind")
        with settings(box, f'[streamlink.options]\nhttp-proxy = "{proxy.url}"\n'):
            record_all(box, ctl, {f"by-proxy-{streamlink}": url})
        assert f"{served.url}/media" in proxy.asked
        assert [path for path in proxy.asked if closed.url in path] == []
        plain = f"{USER} timeout 20 {streamlink.command} --http-proxy={proxy.url} --stdout"
        box.run(["sh", "-c", f"{plain} '{url}' best >/dev/null || true"], timeout=60)
        assert f"{closed.url}/behind" in proxy.asked


@pytest.mark.timeout(600)
def test_names_and_certificates_work_confined(box: Box, ctl: Ctl, tmp_path: Path, streamlink: Streamlink) -> None:
    """A name of /etc/hosts, a certificate of the box's own authority, and ffmpeg, which muxes; byte for byte."""
    with ExitStack() as stack:
        stack.enter_context(trusted(box, tmp_path, streamlink))
        sources = {kind: stack.enter_context(LiveSource(MediaSpec(kind=kind, seconds=20))) for kind in FORMS}
        port = stack.enter_context(over_tls(sources["separate"], tmp_path))
        urls = {}
        for kind, source in sources.items():
            source.channel("form", {"elapsed": 12.0})
            source.control("form", end=True)
            urls[f"{kind}-{streamlink}"] = source.url("form")
        urls[f"separate-{streamlink}"] = f"https://{NAME}:{port}/form/master.m3u8"
        with settings(box, '[network]\nallow = ["127.0.0.1"]\n'):
            record_all(box, ctl, urls)
        for name, url in urls.items():
            box.write_file(f"/run/{name}.conf", config_text(streamlink.version, url, "best"))
        plain = f"{USER} {streamlink.command} --stdout --config=/run"
        side_by_side(box, (["sh", "-c", f"{plain}/{name}.conf >/run/{name}.media"] for name in urls))
    for name in urls:
        expected = box.path(f"/run/{name}.media").read_bytes()
        assert len(expected) > 100_000
        assert box.path(ctl.recording(name)["runtime"]["path"]).read_bytes() == expected, name


NAME = "source.test"


@contextmanager
def trusted(box: Box, folder: Path, streamlink: Streamlink) -> Iterator[None]:
    """An authority and a certificate for the name; this streamlink believes the one, and the box knows the other."""
    certificate = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={NAME}"]
    paths = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    more = ["-addext", f"subjectAltName=DNS:{NAME}"]
    subprocess.run([*certificate, *paths, *more], check=True, capture_output=True)
    python = str(Path(streamlink.command).with_name("python3"))
    where = box.run([python, "-c", "import certifi; print(certifi.where())"]).stdout.strip()
    files = {where: (folder / "cert.pem").read_bytes(), "/etc/hosts": f"127.0.0.1 {NAME}\n".encode()}
    before = {path: box.path(path).read_bytes() for path in files}
    try:
        for path, more_of_it in files.items():
            box.path(path).write_bytes(before[path] + more_of_it)
        yield
    finally:
        for path, content in before.items():
            box.path(path).write_bytes(content)


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


WRAPPER = """
import json, os, signal, subprocess, sys, time
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
    box.run(["rm", "-rf", "/run/control"])
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
    box: Box, ctl: Ctl, source: LiveSource, channel: str, streamlink: Streamlink
) -> None:
    """The control is the same program where nothing confines it; the table has both."""
    near, taken = f"neighbour-{streamlink}", f"taken-{streamlink}"
    ctl("record", source.url(channel), "--name", near)
    neighbour = ctl.segments(near)[0]
    daemon = box.run(["systemctl", "show", "--property=MainPID", "--value", "streamvaultd.service"]).stdout.strip()
    folder = box.path(PROGRAMS)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "intruder.py").write_bytes(Path(intruder.__file__).read_bytes())
    (manifest,) = box.run(["find", f"{RECORDINGS}/{near}", "-name", ".stream_*.json"]).stdout.split()
    targets = {
        "secrets": [
            "/var/lib/streamvaultd/streamvaultd.sqlite", neighbour["path"], manifest,
            "/etc/streamvaultd/conf.d/test.toml", "/run/credentials/streamvaultd.service", "/etc/shadow",
            journal_of(box, neighbour["pid"]),
        ],
        "folder": "/var/lib/streamvaultd", "victims": [daemon, str(neighbour["pid"])], "own": "", "sockets": SOCKETS,
    }  # fmt: skip
    (folder / "targets.json").write_text(json.dumps(targets))
    with taken_over(box, ctl, streamlink, WRAPPER):
        ctl("record", source.url(channel), "--name", taken, check=False)
        segment = ctl.segments(taken)[0]["path"]
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
        ctl("stop", taken, "--wait")
        assert box.run(lingers, check=False).stdout.strip() == "0"
    assert ctl.state(near) == "recording"
    source.control(channel, end=True)
    wait_state(box, ctl, near, "completed")


HOARDER = """
import array, os, resource, socket, sys, time
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
kept, passed, fds = [], 0, array.array("i", [0] * 253)
try:
    while passed < 1 << 20:
        kept.append(socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM))
        kept[-1][0].setblocking(False)
        try:
            while True:
                kept[-1][0].sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
                passed += 253
        except BlockingIOError:
            pass
except OSError as error:
    print(f"warning: {passed} are under way: {error}", file=sys.stderr)
os.write(1, bytes(20000))
time.sleep(600)
"""


def test_one_that_hoards_descriptors_keeps_nobody_from_recording(
    box: Box, ctl: Ctl, source: LiveSource, channel: str, streamlink: Streamlink
) -> None:
    """What is under way over Unix sockets counts by user, and the daemon passes descriptors at each start."""
    hoarder, beside = f"hoarder-{streamlink}", f"beside-{streamlink}"
    with taken_over(box, ctl, streamlink, HOARDER):
        ctl("record", source.url(channel), "--name", hoarder)
    number = ctl.recording(hoarder)["id"]
    told = box.wait_journal(f"STREAMVAULT_RECORDING={number}", until=lambda entry: "are under way" in entry["MESSAGE"])
    ctl("record", source.url(channel), "--name", beside)
    assert [segment["number"] for segment in ctl.segments(beside)] == [1]
    assert ctl.state(hoarder) == "recording"
    assert "Too many references" in told["MESSAGE"]
    source.control(channel, end=True)
    side_by_side(box, (["streamvaultctl", "stop", name, "--wait"] for name in (hoarder, beside)))


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
