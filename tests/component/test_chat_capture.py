# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that captures a chat, against a server like Twitch's: what was said is there, each once, in order."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from streamvaultd.base.irc import parse
from tests.fakes.chat_server import CHANNEL, WAIT, ChatServer, make_authority

PROGRAM = (sys.executable, "-I", "-m", "streamvaultd.recording.chat.capture.program")


class Captured:
    """A capture that runs, as the daemon would start it: a file that is added to, and facts beside it."""

    def __init__(self, folder: Path, port: int, ca: Path, host: str = "localhost") -> None:
        folder.mkdir(exist_ok=True)
        self.path, self.facts_path = folder / "chat.jsonl", folder / "facts"
        output = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
        facts = os.open(self.facts_path, os.O_WRONLY | os.O_CREAT, 0o640)
        spec = {"host": host, "port": port, "channel": CHANNEL, "ca": str(ca), "status": facts, "turn": None}
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                PROGRAM, stdin=subprocess.PIPE, stdout=output, stderr=log, pass_fds=(facts,)
            )
        os.close(output)
        os.close(facts)
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(spec).encode())
        self.process.stdin.close()

    def end(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(WAIT) == 0

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(WAIT)

    @property
    def facts(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.facts_path.read_text())
        return found


def lines(path: Path) -> list[dict[str, Any]]:
    """Whole lines; one that was torn is left out, as every reader does."""
    found = []
    for text in path.read_bytes().split(b"\n"):
        try:
            found.append(json.loads(text))
        except ValueError:
            assert not text.endswith(b"}")
    return found


def ids(path: Path) -> list[str]:
    """Of messages, as they came, those that came twice once."""
    parsed = [parse(line["l"]) for line in lines(path) if "l" in line]
    return list(dict.fromkeys(line.tags["id"] for line in parsed if line is not None and "id" in line.tags))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ChatServer]:
    with ChatServer(tmp_path / "tls") as running:
        yield running


@pytest.fixture
def started(tmp_path: Path, server: ChatServer) -> Iterator[Captured]:
    capture = Captured(tmp_path, server.port, server.ca)
    yield capture
    capture.kill()


def until(what: Callable[[], object], name: str) -> None:
    for _ in range(600):
        if what():
            return
        threading.Event().wait(0.1)
    raise AssertionError(f"waited for {name}")


def until_kept(capture: Captured, server: ChatServer) -> None:
    """Everything that was said so far is in the file."""
    until(lambda: ids(capture.path) == server.sent, "what was said")


def test_what_is_said_is_kept(server: ChatServer, started: Captured) -> None:
    server.say(500)
    until_kept(started, server)
    started.end()
    assert ids(started.path) == server.sent
    assert started.facts["messages"] == sum(n % 97 != 5 for n in range(1, 501))
    assert not any("before it is confirmed" in line.get("l", "") for line in lines(started.path))
    assert [line["e"] for line in lines(started.path) if "e" in line] == ["begun", "joined", "ended"]
    stamps = [line["m"] for line in lines(started.path)]  # the other clock may be set
    assert stamps == sorted(stamps)


def test_the_server_says_that_it_will_close(server: ChatServer, started: Captured) -> None:
    server.say(50)
    first = list(server.joined)
    server.order(":tmi.twitch.tv RECONNECT")
    server.wait_for_another(first)
    assert not any(client.is_gone for client in first)
    server.say(50)
    server.hang_up(first)
    server.say(50)
    until_kept(started, server)
    started.end()
    assert ids(started.path) == server.sent
    assert started.facts["gaps"] == 0


def test_a_connection_breaks_off(server: ChatServer, started: Captured) -> None:
    server.say(20)
    until_kept(started, server)
    first = list(server.joined)
    server.break_off(first)
    server.wait(lambda: all(client.is_gone for client in first))
    server.say(20)
    until_kept(started, server)
    started.end()
    assert ids(started.path) == server.sent
    events = [line["e"] for line in lines(started.path) if "e" in line]
    assert events == ["begun", "joined", "lost", "joined", "ended"]
    assert started.facts["gaps"] == 1


def test_it_is_kicked_and_comes_back(server: ChatServer, started: Captured) -> None:
    server.say(20)
    client = server.joined[0]
    until_kept(started, server)
    server.kick(client)
    server.say(20)
    assert client.said.count(f"JOIN #{CHANNEL}") == 2
    until_kept(started, server)
    started.end()
    assert ids(started.path) == server.sent


def test_a_capture_that_is_killed_leaves_a_line_torn_and_the_next_one_goes_on(
    tmp_path: Path, server: ChatServer, started: Captured
) -> None:
    server.say(30)
    until_kept(started, server)
    started.kill()
    with started.path.open("ab") as torn:
        torn.write(b'{"r":1,"m":1,"l":"@id=torn')
    server.wait(lambda: not server.joined)
    second = Captured(tmp_path, server.port, server.ca)
    server.say(30)
    until_kept(second, server)
    second.end()
    assert ids(second.path) == server.sent


def test_a_certificate_of_another_authority_or_name_is_refused(tmp_path: Path, server: ChatServer) -> None:
    other = make_authority(tmp_path / "other")
    for ca, host in ((other, "localhost"), (server.ca, "ip6-localhost"), (Path(), "localhost")):
        wrong = Captured(tmp_path, server.port, ca if ca.name else Path("/nowhere"), host)
        until(wrong.log.read_text, "a word about it")
        wrong.kill()
    assert not any(client.said for client in server.clients)
    right = Captured(tmp_path, server.port, server.ca)
    server.say(1)
    until(lambda: server.sent[0] in ids(right.path), "what was said")
    right.end()


def test_what_was_sent_before_it_is_asked_to_end_is_kept(server: ChatServer, started: Captured) -> None:
    server.say(20)
    until_kept(started, server)
    started.process.send_signal(signal.SIGSTOP)
    server.say(1200)  # the kernel has it, and the program has not
    started.process.send_signal(signal.SIGTERM)
    started.process.send_signal(signal.SIGCONT)
    assert started.process.wait(WAIT) == 0
    assert ids(started.path) == server.sent


def test_a_channel_that_is_lost_until_the_end_is_a_hole(server: ChatServer, started: Captured) -> None:
    server.say(20)
    until_kept(started, server)
    server.says_roomstate = False  # nobody gets in again
    server.break_off(list(server.joined))
    until(lambda: [line for line in lines(started.path) if line.get("e") == "lost"], "the end of the connection")
    started.end()
    assert started.facts["gaps"] == 1
    assert started.facts["away"] > 0
    assert not started.facts["joined"]


def test_hundreds_a_second_with_every_fault(server: ChatServer, started: Captured) -> None:
    """The short form; `make chat` has the long one."""
    for _ in range(4):
        for _ in range(10):
            server.say(25)
        before = list(server.joined)
        server.order(":tmi.twitch.tv RECONNECT")
        server.wait_for_another(before)
        server.say(100)
        server.hang_up(before)
    until_kept(started, server)
    started.end()
    assert ids(started.path) == server.sent
