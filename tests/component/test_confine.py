# SPDX-License-Identifier: GPL-3.0-or-later
"""What a command behind the shim may reach, on this machine's kernel; and that it records the same bytes as without.

Every refusal has its positive control: the same attempt by the same program succeeds where nothing confines it.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streamvaultd.base.memory_file import memfd_with
from streamvaultd.recording.streamlink.command import Installation, config_text, parse_version
from streamvaultd.scopes.launcher import SHIM, Launcher
from streamvaultd.scopes.ports import Access
from streamvaultd.scopes.scratch import Scratch
from tests.component.captures import READABLE, World, command_of, real_streamlink, world
from tests.fakes import intruder
from tests.fakes.livesource import LiveSource
from tests.fakes.media import MediaSpec

PROGRAM = Path(intruder.__file__)
ALONE = {
    "write to /run", "move a process into its group", "write a line into the journal", "reach the system bus",
    "mount a file system", "enter another's namespaces", "make a keyring",
    "tell systemd something", "raise its own memory limit", "make a user namespace", "take a file's handle",
    "make a POSIX queue",
}  # fmt: skip
"""What this machine may refuse to anybody, or has no part for."""


@pytest.fixture
def at() -> Iterator[World]:
    with world() as found:
        yield found


@pytest.fixture
def victim() -> Iterator[subprocess.Popen[bytes]]:
    """A process of the same user."""
    with subprocess.Popen(["/usr/bin/sleep", "600"]) as process:
        yield process
        process.kill()


@pytest.fixture
def there(at: World, victim: subprocess.Popen[bytes]) -> Iterator[dict[str, Any]]:
    """All that there is to reach."""
    folder = at.folder / "recordings"
    folder.mkdir()
    (folder / "secret").write_text("token")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(at.folder / "socket"))
        listener.listen()
        yield {
            "secret": str(folder / "secret"), "folder": str(folder), "victim": str(victim.pid),
            "sockets": {"a Unix socket": str(at.folder / "socket")}, "own": "", "group": "/sys/fs/cgroup",
        }  # fmt: skip


def reached_by(at: World, there: dict[str, Any]) -> list[str]:
    """What an intruder reaches behind the shim."""
    out = os.open(at.folder / "out", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    argv = (sys.executable, "-I", str(PROGRAM), json.dumps(there))
    record = at.start(*argv, stdout_fd=out).ended()
    assert record["status"] == 0, record
    tried = json.loads(os.pread(out, 1 << 20, 0))
    os.close(out)
    assert len(tried) > 45
    return sorted(name for name, result in tried.items() if result == "reached")


def test_nothing_is_reached(at: World, there: dict[str, Any]) -> None:
    assert reached_by(at, there) == []
    assert Path(there["secret"]).read_text() == "token"


def test_the_same_attempts_reach_everything_where_nothing_confines_them(at: World, there: dict[str, Any]) -> None:
    own = at.folder / "own"
    own.mkdir()
    argv = [sys.executable, "-I", str(PROGRAM), json.dumps({**there, "own": str(own)})]
    reader, pipe = os.pipe()
    ran = subprocess.run(argv, capture_output=True, check=True, env={"HOME": str(own)}, pass_fds=[pipe])
    os.close(pipe)
    os.close(reader)
    subprocess.run(["umount", str(own)], check=False, capture_output=True)  # as root it could mount
    for folder in ("/dev/shm", "/tmp", "/run", "/run/lock", "/var/tmp"):
        Path(folder, "intruder").unlink(missing_ok=True)
    stopped = {name for name, result in json.loads(ran.stdout).items() if result != "reached"}
    assert stopped - ALONE == set()


def test_descriptors_are_few_and_those_that_it_is_given_may_have_any_number(at: World) -> None:
    """A busy daemon has many open: the configuration of a streamlink has the number that it has there."""
    given = memfd_with("given", "content")
    os.dup2(given, 1000)
    script = 'test "$(ulimit -n) $(ulimit -H -n)" = "$0 $0" && test "$(cat /proc/self/fd/1000)" = content'
    for rules, count in ((Access(network=True), 256), (Access(), 4096), (Access(network=True, browser=True), 4096)):
        run = at.start("/bin/bash", "-c", script, str(count), extra_fds=[1000], rules=rules)
        assert run.ended()["status"] == 0, rules
    os.close(1000)
    os.close(given)


def test_its_scratch_folder_is_its_own_and_goes_with_it(at: World) -> None:
    script = """
        cd $HOME && mkdir -p a/b && echo x >a/b/c && ln -s /etc d && mkfifo e && ls -d $TMPDIR/* >&2
        test $HOME = $TMPDIR
    """
    run = at.start("/bin/sh", "-c", script)
    assert run.ended()["status"] == 0
    assert [Path(entry["MESSAGE"]).name for entry in at.journal.entries()] == ["a", "d", "e"]
    assert list(at.scratch.iterdir()) == []
    assert Path("/etc/passwd").exists()


def test_what_a_killed_shim_left_is_removed_by_who_launched_it(at: World) -> None:
    """And nothing that a link in it leads to, or that belongs to another run."""
    other = at.scratch / "streamvault-348-003"
    other.mkdir()
    (at.folder / "kept").write_text("x")
    script = f"cd $HOME && ln -s {at.folder} out && mkdir -m 0 a && echo x >b; echo done >&2; exec sleep 600"
    run = at.start("/bin/sh", "-c", script)
    assert at.journal.next()["MESSAGE"] == "done"
    for pid in (run.spawned.pid, run.child()):
        os.kill(pid, signal.SIGKILL)
    assert run.wait() is None
    left = at.scratch / "streamvault-348-002"
    assert sorted(path.name for path in left.iterdir()) == ["a", "b", "out"]
    at.launcher.tidy("streamvault-348-002.scope")
    assert list(at.scratch.iterdir()) == [other]
    assert (at.folder / "kept").exists()
    at.launcher.tidy("streamvault-348-002.scope")  # as after every run whose shim did it itself


def test_a_scratch_folder_that_nobody_may_list_goes_too(at: World) -> None:
    """A folder without the right to read, by the umask: rm(1) alone leaves it, and memory would fill up run by run."""
    script = "cd $HOME && umask 0477 && mkdir a && umask 0 && echo x >a/b && umask 0777 && mkdir c"
    user = 65534
    at.scratch.chmod(0o777)
    for folder in (at.folder, at.folder.parent):
        folder.chmod(folder.stat().st_mode | 0o055)
    argv = [
        "setpriv",
        f"--reuid={user}",
        "--clear-groups",
        "sh",
        "-c",
        f"HOME={at.scratch}/own; mkdir $HOME; {script}",
    ]
    subprocess.run(argv, check=True)
    left = at.scratch / "own"
    code = f"import sys; sys.path.insert(0, {str(SHIM.parent)!r}); import shim; shim.remove({str(left)!r})"
    subprocess.run(["setpriv", f"--reuid={user}", "--clear-groups", "/usr/bin/python3", "-I", "-c", code], check=True)
    assert list(at.scratch.iterdir()) == []


def test_without_room_for_a_scratch_folder_a_command_runs_all_the_same(at: World) -> None:
    at.scratch.rmdir()
    assert at.start("/bin/sh", "-c", "exit 7").ended()["status"] == 7
    assert [entry["PRIORITY"] for entry in at.journal.entries()] == ["4"]


def test_what_cannot_be_spawned_keeps_no_scratch_folder(at: World) -> None:
    place = at.scratch / "0"
    place.mkdir()
    scratch = Scratch(at.scratch, [place])
    with pytest.raises(FileNotFoundError):
        Launcher(environment={}, scratch=scratch, python="/nowhere/python").spawn(command_of("true"))
    assert [scratch.give(run, is_browser=False).parent for run in ("a", "b")] == [place, at.scratch]


def test_an_older_daemon_may_start_the_shim_and_gives_no_rules(at: World) -> None:
    """Between the unpacking of a new package and the restart of the daemon."""
    (gate, opened), (ended, record), context = os.pipe(), os.pipe(), memfd_with("context", at.journal.address + "\0")
    numbers = [str(gate), str(record), str(context)]
    argv = [sys.executable, "-I", "-S", str(SHIM), "348-002", *numbers, "-", "--", "/bin/sh", "-c", "exit 7"]
    os.write(opened, b"1")
    subprocess.run(argv, pass_fds=(gate, record, context), check=True)
    assert json.loads(os.read(ended, select.PIPE_BUF))["status"] == 7
    for fd in (gate, opened, ended, record, context):
        os.close(fd)


def test_what_is_left_of_another_run_is_not_found(at: World) -> None:
    left = at.scratch / "streamvault-348-002"
    left.mkdir()
    (left / "planted").write_text("x")
    assert at.start("/bin/sh", "-c", 'test -z "$(ls $HOME)"').ended()["status"] == 0


def test_a_process_that_hides_from_its_group_stays_confined(at: World, there: dict[str, Any]) -> None:
    """The rules hold for what a command leaves behind, too."""
    script = f"setsid sh -c 'cat {there['secret']} >&2'; true"
    assert at.start("/bin/sh", "-c", script).ended()["status"] == 0
    told = "".join(entry["MESSAGE"] for entry in at.journal.entries())
    assert "token" not in told
    assert "denied" in told


@pytest.mark.parametrize(("network", "reached"), [(True, True), (False, False)])
def test_a_job_has_no_network(at: World, *, network: bool, reached: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        code = f"import socket; socket.create_connection(('127.0.0.1', {server.getsockname()[1]}), 5)"
        rules = Access(network=network, read=READABLE)
        record = at.start(sys.executable, "-I", "-c", code, rules=rules).ended()
    assert (record["status"] == 0) is reached


def test_a_browser_gets_more_and_still_no_file_of_the_service(at: World, there: dict[str, Any]) -> None:
    rules = Access(network=True, browser=True)
    script = (
        f"test -r /proc/1/stat && echo x >/dev/shm/browser-test && rm /dev/shm/browser-test && ! cat {there['secret']}"
    )
    assert at.start("/bin/sh", "-c", script, rules=rules).ended()["status"] == 0


AS_BROWSER = f"""
import os, sys
sys.path.insert(0, {str(SHIM.parent)!r})
import confine
if confine.confine(read=[sys.argv[1]], write=[os.environ["HOME"]], is_browser=True):
    sys.exit("something is missing")
os.execv(sys.executable, [sys.executable, "-I", *sys.argv[1:]])
"""


def test_a_browser_reaches_sockets_and_no_process_or_file(at: World, there: dict[str, Any]) -> None:
    """As an ordinary user: root sees more of other processes."""
    user, own, program = 65534, at.folder / "own", at.folder / "intruder.py"
    own.mkdir()
    program.write_bytes(PROGRAM.read_bytes())
    for path in (at.folder, own, Path(there["folder"])):
        path.chmod(0o777)
    for path in (program, there["secret"], there["sockets"]["a Unix socket"]):
        Path(path).chmod(0o666)
    as_user = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
    with subprocess.Popen([*as_user, "/usr/bin/sleep", "600"]) as victim:
        given = json.dumps({**there, "victim": str(victim.pid), "own": str(own)})
        argv = [*as_user, "/usr/bin/python3", "-I", "-c", AS_BROWSER, str(program), given]
        ran = subprocess.run(argv, capture_output=True, check=True, env={"HOME": str(own)})
        victim.kill()
    Path("/dev/shm/intruder").unlink(missing_ok=True)
    reached = {name for name, result in json.loads(ran.stdout).items() if result == "reached"}
    sockets = {"reach the system bus", "write a line into the journal", "tell systemd something"}
    own_files = {"cut a file that it writes", "give a file that it writes a size", "write elsewhere than at the end"}
    needed = {"reach a Unix socket", "write to /dev/shm", *own_files}
    names = {"read another process's command line", "reach another process's files"}  # of which it sees the numbers
    assert needed <= reached <= needed | names | sockets
    assert Path(there["secret"]).read_text() == "token"


def test_more_may_be_read_where_the_administrator_says_so(at: World, there: dict[str, Any]) -> None:
    read = Access(read=(there["folder"],))
    assert at.start("/bin/cat", there["secret"], rules=read).ended()["status"] == 0
    assert at.start("/bin/cat", there["secret"]).ended()["status"] == 1
    assert at.start("/bin/sh", "-c", f"echo y >{there['secret']}", rules=read).ended()["status"] != 0


# --- streamlink ----------------------------------------------------------------------------------------------------


def installed() -> Installation:
    command = real_streamlink()
    said = subprocess.run([command, "--version"], capture_output=True, text=True, check=True).stdout
    version = parse_version(said)
    assert version is not None
    return Installation(command=(command,), version=version, python=sys.executable, managed=False)


FORMS = ("ts", "fmp4", "aes", "separate")


@pytest.mark.parametrize("form", FORMS)
def test_the_same_bytes_are_recorded_with_and_without(at: World, form: str) -> None:
    """The control is streamlink itself, run by nobody; what it muxes with ffmpeg goes through FIFOs in its scratch."""
    streamlink = installed()
    with LiveSource(MediaSpec(segment=1, seconds=8, kind=form), window=30) as source:
        source.channel("a", {"elapsed": 8.0})
        source.control("a", end=True)
        url = source.url("a", "master" if form == "separate" else "live")
        record = at.record(url, at.folder / "confined", streamlink).ended()
        assert record["status"] == 0, record
        config = at.folder / "config"
        config.write_text(config_text(streamlink.version, url, "best"))
        with (at.folder / "plain").open("wb") as plain:
            argv = [*streamlink.command, f"--config={config}", "--stdout"]
            subprocess.run(argv, stdout=plain, stderr=subprocess.DEVNULL, check=True)
    recorded = (at.folder / "confined").read_bytes()
    assert len(recorded) > 50_000
    assert recorded == (at.folder / "plain").read_bytes()
