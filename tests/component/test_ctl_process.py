# SPDX-License-Identifier: GPL-3.0-or-later
"""streamvaultctl as a process: over a real socket, on a real terminal, interrupted, and with nobody reading."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import signal
import sys
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from streamvaultd.errors import SourceUnavailable
from streamvaultd.varlink.server import Call, Final, Handler, Info, ServedInterface, Server, read_definition
from streamvaultd.varlink.sockets import listen
from tests.fakes.ctl import NOW, at, event, recording, segment

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncGenerator, AsyncIterator

ROOT = Path(__file__).parents[2]
RUN = "import sys; from streamvaultd.ctl.main import main; sys.exit(main())"
URL = "https://example.org/live.m3u8"
RESULT = "/srv/media/demo/demo.ts"


class Recorder:
    """The methods that the tests need, as the daemon has them; what it answers is held against the interface."""

    def __init__(self) -> None:
        self.states = [recording("starting", bytes=0), recording()]
        self.count = 1
        self.refusal: SourceUnavailable | None = None
        self.go_on = asyncio.Event()
        self.subscribed = asyncio.Event()
        self.order: list[str] = []
        self.file = Path("/nowhere")
        """Of the streamer ada; `knows` is what it said when it was read last."""
        self.knows = ""

    def server(self) -> Server:
        handlers: dict[str, Handler] = {
            "List": self.list,
            "Get": self.get,
            "GetStream": self.get_stream,
            "ListSegments": self.list_segments,
            "Record": self.record,
            "Rotate": self.rotate,
            "Stop": self.stop,
            "Retry": self.retry,
            "Subscribe": self.subscribe,
            "GetStatus": self.get_status,
            "ListEvents": self.list_events,
            "ListStreamers": self.list_streamers,
            "GetStreamer": self.get_streamer,
            "Reload": self.reload,
            "Prune": self.prune,
        }
        interface = ServedInterface(
            read_definition("io.streamvault.Recorder"), handlers, streaming=frozenset({"Subscribe"})
        )
        return Server(Info("streamvault", "test", "1", "https://example.org/"), [interface], check_replies=True)

    async def list(self, _call: Call) -> dict[str, Any]:
        return {"recordings": [recording(number=number) for number in range(self.count, 0, -1)]}

    async def get_status(self, _call: Call) -> dict[str, Any]:
        return {
            "version": "1", "state": "running", "startedAt": at(NOW), "recordings": 1, "segments": 1, "jobs": 0,
            "streamlinkCommand": "streamlink", "store": "/var/lib/streamvaultd/streamvaultd.sqlite",
            "unreachableTargets": [],
            "unconfined": [],
            "mistakes": [],
        }  # fmt: skip

    async def list_streamers(self, _call: Call) -> dict[str, Any]:
        return {"streamers": [self.streamer(name) for name in ("dora", "emil")]}

    def streamer(self, name: str) -> dict[str, Any]:
        context = {"url": "https://example.org/live.m3u8", "file": str(self.file), "own": False, "enabled": True}
        return {"name": name, "context": context, "runtime": {"state": "offline", "since": at(NOW), "failures": 0}}

    async def get_streamer(self, _call: Call) -> dict[str, Any]:
        return {"streamer": self.streamer("ada")}

    async def reload(self, _call: Call) -> dict[str, Any]:
        self.order.append("Reload")
        self.knows = await asyncio.to_thread(self.file.read_text)
        return {"applied": True, "mistakes": []}

    async def prune(self, call: Call) -> dict[str, Any]:
        self.order.append("dry run" if call.parameters.get("dryRun") else "Prune")
        pruned = {"recording": 348, "streamer": "demo", "files": [RESULT], "bytes": 2048, "done": True}
        return {"pruned": [pruned], "bytes": 2048, "more": False}

    async def list_events(self, _call: Call) -> dict[str, Any]:
        return {"events": [event(message="Segment 1 died")]}

    async def get(self, _call: Call) -> dict[str, Any]:
        return {"recording": self.states[-1]}

    async def get_stream(self, _call: Call) -> dict[str, Any]:
        return {"stream": {"id": 77, "streamer": "demo", "startedAt": at(NOW), "recordings": [348]}}

    async def list_segments(self, _call: Call) -> dict[str, Any]:
        return {"segments": [segment(1), segment(2)]}

    async def record(self, _call: Call) -> AsyncGenerator[dict[str, Any] | Final, None]:
        self.order.append("Record")
        for state in self.states:
            yield {"recording": state}
        await self.go_on.wait()
        if self.refusal is not None:
            raise self.refusal
        yield Final({"recording": recording("completed", path=RESULT)})

    async def stop(self, _call: Call) -> dict[str, Any]:
        self.order.append("Stop")
        self.go_on.set()
        return {"recording": recording("stopping")}

    async def retry(self, _call: Call) -> dict[str, Any]:
        self.order.append("Retry")
        self.go_on.set()
        return {"recording": recording("starting")}

    async def rotate(self, _call: Call) -> dict[str, Any]:
        self.order.append("Rotate")
        self.go_on.set()
        return {"recording": recording("rotating", segments=3)}

    async def subscribe(self, _call: Call) -> AsyncGenerator[dict[str, Any] | Final, None]:
        self.order.append("Subscribe")
        yield {"recording": self.states[-1]}
        self.subscribed.set()
        await self.go_on.wait()
        yield {"recording": recording("rotating", segments=3)}
        yield {"recording": recording("recording", segments=3)}
        yield {"recording": recording("completed", segments=3, path=RESULT)}
        await asyncio.Event().wait()


@asynccontextmanager
async def served(recorder: Recorder, listener: socket.socket) -> AsyncIterator[None]:
    task = asyncio.create_task(recorder.server().serve(listener))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.fixture
def address(tmp_path: Path) -> Path:
    return tmp_path / "socket"


@pytest.fixture
async def listener(address: Path) -> AsyncIterator[socket.socket]:
    with listen(address, 0o600) as sock:
        yield sock


@pytest.fixture
async def recorder(listener: socket.socket) -> AsyncIterator[Recorder]:
    recorder = Recorder()
    async with served(recorder, listener):
        yield recorder


async def start(
    address: Path, *argv: str, out: int = asyncio.subprocess.PIPE, **environ: str
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", RUN, "--socket", str(address), *argv),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=out,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environ},
    )


async def run(address: Path, *argv: str, out: int = asyncio.subprocess.PIPE, **environ: str) -> tuple[int, str, str]:
    process = await start(address, *argv, out=out, **environ)
    stdout, stderr = await process.communicate()
    assert process.returncode is not None
    return process.returncode, (stdout or b"").decode(), stderr.decode()


async def read_terminal(master: int) -> str:
    """All that is written to a terminal until its last user closes it."""

    def read() -> bytes:
        found = b""
        with suppress(OSError):  # EIO: the other side is closed
            while data := os.read(master, 65536):
                found += data
        return found

    return (await asyncio.to_thread(read)).decode()


async def on_terminal(address: Path, *argv: str, **environ: str) -> tuple[int, str]:
    master, slave = pty.openpty()
    try:
        process = await start(address, *argv, out=slave, **environ)
        os.close(slave)
        shown = await read_terminal(master)
        return await process.wait(), shown
    finally:
        os.close(master)


# --- answers and errors --------------------------------------------------------------------------------------------


async def test_list_over_a_socket(recorder: Recorder, address: Path) -> None:
    code, out, err = await run(address, "list", "--json=short")
    assert (code, err) == (0, "")
    assert json.loads(out) == [recording(number=1)]


async def test_no_daemon(address: Path) -> None:
    code, out, err = await run(address, "list")
    assert (code, out) == (3, "")
    assert err.startswith(f"streamvaultctl: cannot reach streamvaultd at {address}: no such file or directory\n")


async def test_record_is_refused(recorder: Recorder, address: Path) -> None:
    recorder.refusal = SourceUnavailable(url=URL, why="the site answered 404")
    recorder.go_on.set()
    code, out, err = await run(address, "record", URL, "--name", "demo")
    assert (code, out) == (1, "")
    assert f"streamvaultctl: cannot record '{URL}': the site answered 404\n" in err


async def test_rotate_wait_subscribes_before_it_asks(recorder: Recorder, address: Path) -> None:
    code, out, _ = await run(address, "rotate", "demo", "--wait")
    assert (code, out) == (0, "")
    assert recorder.order == ["Subscribe", "Rotate"]


async def test_record_wait_outlives_a_restart_of_the_daemon(listener: socket.socket, address: Path) -> None:
    first, second = Recorder(), Recorder()
    async with served(first, listener):
        process = await start(address, "record", URL, "--wait")
        assert process.stderr is not None
        assert await process.stderr.readline() == b"recording 348 of 'demo': starting\n"
    async with served(second, listener):
        await second.subscribed.wait()
        second.go_on.set()
        stdout, _ = await process.communicate()
    assert (process.returncode, stdout.decode()) == (0, f"{RESULT}\n")


async def test_interrupt_leaves_the_recording_running(recorder: Recorder, address: Path) -> None:
    process = await start(address, "record", URL, "--wait")
    assert process.stderr is not None
    assert await process.stderr.readline() == b"recording 348 of 'demo': starting\n"
    process.send_signal(signal.SIGINT)
    stdout, stderr = await process.communicate()
    assert (process.returncode, stdout) == (130, b"")
    assert stderr.decode().endswith(
        "interrupted: recording 348 of 'demo' goes on; 'streamvaultctl status 348' shows it.\n"
    )


# --- where the output goes -----------------------------------------------------------------------------------------


async def test_nobody_reads_the_output(recorder: Recorder, address: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    code, _, err = await run(address, "list", out=writing)
    os.close(writing)
    assert (code, err) == (141, "")


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&- <&-"])
async def test_what_is_closed_leads_nowhere(recorder: Recorder, address: Path, closed: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *("sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-c", RUN, "--socket", str(address)),
        *("status", "demo"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    out, err = await process.communicate()
    assert (process.returncode, err, bool(out)) == (0, b"", closed == "2>&-")


async def test_full_disk(recorder: Recorder, address: Path) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    code, _, err = await run(address, "list", out=full)
    os.close(full)
    assert (code, err) == (1, "streamvaultctl: cannot write the output: No space left on device\n")


async def test_terminal_gets_colours(recorder: Recorder, address: Path) -> None:
    code, shown = await on_terminal(address, "list", TERM="xterm", NO_COLOR="")
    assert code == 0
    assert "\x1b[1;32mrecording\x1b[0m" in shown
    _, shown = await on_terminal(address, "list", TERM="xterm", NO_COLOR="1")
    assert "\x1b" not in shown


async def test_long_output_goes_through_the_pager(recorder: Recorder, address: Path) -> None:
    recorder.count = 30
    paged = {"TERM": "dumb", "LINES": "20", "SYSTEMD_PAGER": "sed 's/^/paged: /'"}
    _, shown = await on_terminal(address, "list", "--no-legend", **paged)
    assert len(re.findall(r"^paged: ", shown, re.MULTILINE)) == 30
    for argv, environ in [
        (["--no-pager"], paged),
        ([], {**paged, "LINES": "50"}),
        ([], {**paged, "SYSTEMD_PAGER": ""}),
        ([], {**paged, "SYSTEMD_PAGER": "cat"}),
    ]:
        _, shown = await on_terminal(address, "list", "--no-legend", *argv, **environ)
        assert "paged" not in shown
        assert shown.count("demo") == 30
    _, out, _ = await run(address, "list", "--no-legend", SYSTEMD_PAGER=paged["SYSTEMD_PAGER"], LINES="20")
    assert "paged" not in out


async def test_pager_that_does_not_exist_is_passed_over(recorder: Recorder, address: Path, tmp_path: Path) -> None:
    recorder.count = 30
    _, shown = await on_terminal(
        address, "list", "--no-legend", TERM="dumb", LINES="20", SYSTEMD_PAGER="/nowhere/pager", PATH=str(tmp_path)
    )
    assert shown.count("demo") == 30


async def test_encoding_without_dots(recorder: Recorder, address: Path) -> None:
    recorder.states[-1]["context"]["url"] = "https://example.org/日本"
    code, out, _ = await run(address, "status", "demo", PYTHONIOENCODING="ascii")
    assert code == 0
    assert out.startswith("* demo - recording 348")
    assert r"URL: https://example.org/\u65e5\u672c" in out
    _, out, _ = await run(address, "status", "demo", "--json=short", PYTHONIOENCODING="ascii")
    assert json.loads(out)["context"]["url"] == "https://example.org/日本"


async def test_a_pipe_costs_no_needless_imports(recorder: Recorder, address: Path) -> None:
    code = (
        "import sys; from streamvaultd.ctl.main import main; main(); "
        "print({'click', 'rich', 'msgspec', 'asyncio', 'subprocess'} & set(sys.modules), file=sys.stderr)"
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code, "--socket", str(address), "list"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert [text.decode() for text in await process.communicate()][1] == "set()\n"


# --- completion, and the live view ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("streamvaultctl sta", {"status"}),
        ("streamvaultctl status d", {"demo"}),
        ("streamvaultctl status 34", {"34", "340", "341", "342", "343"}),
        ("streamvaultctl list --status f", {"finalizing", "failed"}),
        ("streamvaultctl streamlink in", {"install"}),
        ("streamvaultctl disable d", {"dora"}),
        ("streamvaultctl list --no-", {"--no-pager", "--no-legend"}),
    ],
)
async def test_words_are_completed(recorder: Recorder, address: Path, words: str, expected: set[str]) -> None:
    recorder.count = 343
    command, rest = words.split(" ", 1)
    asked: dict[str, Any] = {
        "COMP_WORDS": f"{command} --socket {address} {rest}",
        "COMP_CWORD": str(len(words.split()) + 1),
        "_STREAMVAULTCTL_COMPLETE": "bash_complete",
    }
    process = await start(address, **asked)
    out = (await process.communicate())[0].decode()
    assert {line.partition(",")[2] for line in out.splitlines()} == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("status d", "demo"),
        ("list --status = f", "finalizing failed"),
        ("list --status =", "recording finalizing completed stopped failed"),
        ("list --json = short d", "demo"),
        ("disable d", "dora"),
    ],
)
async def test_bash_completes_names_from_the_daemon(
    recorder: Recorder, address: Path, tmp_path: Path, words: str, expected: str
) -> None:
    """The script that the package installs, in the shell that reads it."""
    program = tmp_path / "streamvaultctl"
    program.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{RUN}' \"$@\"\n")
    program.chmod(0o755)
    script = ROOT / "streamvaultd" / "ctl" / "completion" / "streamvaultctl"
    typed = f"COMP_WORDS=({program} --socket {address} {words}); COMP_CWORD={len(words.split()) + 2}"
    asked = f'source {script}; {typed}; _streamvaultctl {program}; echo "${{COMPREPLY[@]}}"'
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", asked), stdout=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    out, _ = await process.communicate()
    assert out.decode() == f"{expected}\n"


async def test_top_fills_the_screen_until_it_is_interrupted(recorder: Recorder, address: Path) -> None:
    master, slave = pty.openpty()
    shown = b""
    try:
        process = await start(address, "top", "--interval", "1", out=slave, TERM="xterm", COLUMNS="100", LINES="30")
        os.close(slave)
        while b"Segment 1 died" not in shown:
            shown += await asyncio.to_thread(os.read, master, 65536)
        process.send_signal(signal.SIGINT)
        rest = await read_terminal(master)
        assert await process.wait() == 130
    finally:
        os.close(master)
    assert b"\x1b[?1049h" in shown  # the other screen, and back
    assert "\x1b[?1049l" in rest
    assert b"demo" in shown


async def test_top_wants_a_terminal_that_can_show_it(recorder: Recorder, address: Path) -> None:
    code, shown = await on_terminal(address, "top", TERM="dumb")
    assert (code, shown) == (1, "")
