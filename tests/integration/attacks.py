# SPDX-License-Identifier: GPL-3.0-or-later
"""What attacks a box: hostile sources, programs in place of streamlink, and the same with nothing around them."""

from __future__ import annotations

import json
import shlex
import ssl
import subprocess
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from streamvaultd.recording.streamlink.command import Version
from tests.fakes.livesource import LiveSource
from tests.integration.harness import Ctl
from tests.integration.test_main_job import RECORDINGS, settings
from tests.testbed.box import Box

USER = "cd / && HOME=/tmp setpriv --reuid=_streamvault --clear-groups --regid=_streamvault"

DEBIAN = Version(7, 3, 0)
PRIVATE = "/var/lib/streamvault-streamlink"


@dataclass(frozen=True)
class Streamlink:
    """The one that the box records with; the control runs `command` with nothing around it."""

    version: Version
    command: str

    def __str__(self) -> str:
        return "debian" if self.version == DEBIAN else "newest"


@contextmanager
def taken_over(box: Box, ctl: Ctl, streamlink: Streamlink, program: str) -> Iterator[None]:
    """What is started meanwhile runs this Python program in place of streamlink, with the rules of streamlink."""
    if streamlink.version == DEBIAN:
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
