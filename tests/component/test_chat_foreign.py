# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that captures a chat, against a server that others have written: ngIRCd, with TLS."""

from __future__ import annotations

import json
import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from streamvaultd.base.irc import parse
from tests.component.test_chat_capture import Captured, lines, until
from tests.fakes.chat_server import CHANNEL, WAIT, make_authority

CONFIG = """
[Global]
    Name = irc.chat.test
    Info = a server of the tests
    Ports = {plain}
    Listen = 127.0.0.1
    MotdPhrase = "hello"
    ServerUID = {user}
    ServerGID = {user}
[Limits]
    MaxNickLength = 20
    MaxPenaltyTime = 0
    MaxConnectionsIP = 0
[Options]
    DNS = no
    Ident = no
    PAM = no
[SSL]
    CertFile = {folder}/crt.pem
    KeyFile = {folder}/crt.key
    Ports = {secure}
"""


def free_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return one.getsockname()[1], other.getsockname()[1]


class Talker:
    """A client that is in the channel first, and so may put others out."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), WAIT)
        self._lines: IO[str] = self._socket.makefile("r", encoding="utf-8", newline="\r\n")
        self.say("NICK talker", "USER talker 0 * :talker")
        self.hear(" 001 ")
        self.say(f"JOIN #{CHANNEL}")
        self.hear(" 366 ")

    def say(self, *texts: str) -> None:
        self._socket.sendall("".join(f"{text}\r\n" for text in texts).encode())

    def hear(self, what: str) -> str:
        """The next line in which this is."""
        for line in self._lines:
            if line.startswith("PING"):
                self.say(f"PONG {line.split()[1]}")
            if re.search(what, line):
                return line
        raise AssertionError(f"waited for {what!r}, and the server hung up")

    def close(self) -> None:
        self._lines.close()
        self._socket.close()


@contextmanager
def served(folder: Path) -> Iterator[tuple[int, int]]:
    """A server, on a port without and one with TLS."""
    plain, secure = free_ports()
    config = folder / "ngircd.conf"
    config.write_text(CONFIG.format(plain=plain, secure=secure, folder=folder, user="root"))
    process = subprocess.Popen(
        ["/usr/sbin/ngircd", "-n", "-f", config], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if b"listening on" in line.lower() and str(secure).encode() in line:
                break
        else:
            raise AssertionError("ngircd ended")
        yield plain, secure
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    return make_authority(tmp_path / "tls")


def test_what_is_said_is_kept_once_and_in_order(tmp_path: Path, authority: Path) -> None:
    texts = [f"id {number} \N{FACE WITH TEARS OF JOY}\N{HEBREW LETTER ALEF} :) {{x}}" for number in range(600)]
    with served(authority.parent) as (plain, secure):
        talker = Talker(plain)
        capture = Captured(tmp_path / "kept", secure, authority)
        try:
            nick = talker.hear(rf"^:justinfan\d+!.* JOIN :?#{CHANNEL}")[1:].partition("!")[0]
            talker.say(*(f"PRIVMSG #{CHANNEL} :{text}" for text in texts[:300]))
            talker.say(f"KICK #{CHANNEL} {nick} :out")
            talker.hear(rf"^:{nick}!.* JOIN :?#{CHANNEL}")  # it comes back by itself
            talker.say(*(f"PRIVMSG #{CHANNEL} :{text}" for text in texts[300:]))
            until(lambda: texts[-1] in capture.path.read_text(), "the last message")
        finally:
            capture.end()
            talker.close()
    kept = [parse(line["l"]) for line in lines(capture.path) if "l" in line]
    assert [line.params[1] for line in kept if line is not None and line.command == "PRIVMSG"] == texts
    assert [line["e"] for line in lines(capture.path) if "e" in line] == ["begun", "joined", "lost", "joined", "ended"]
    assert json.loads(capture.facts_path.read_text())["messages"] == len(texts)
