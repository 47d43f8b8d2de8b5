# SPDX-License-Identifier: GPL-3.0-or-later
"""A chat server like Twitch's: IRC over TLS with tags, a certificate of its own authority, and faults to order.

`python3 -m tests.fakes.chat_server FOLDER PORT` runs one that says a message every 20 ms to whoever is in the channel,
until its standard input ends; FOLDER gets ca.pem, and sent.txt with the ids.
"""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from types import TracebackType

NAME = "irc.chat.test"
CHANNEL = "alice"
NAMES = f"subjectAltName=DNS:{NAME},DNS:localhost,IP:127.0.0.1"
WAIT = 60.0
T = TypeVar("T")


def make_authority(folder: Path, names: str = NAMES) -> Path:
    """A certificate authority, and a server's certificate by it: ca.pem, server.pem."""
    folder.mkdir(parents=True, exist_ok=True)
    _certify(folder, "ca", "/CN=authority of the tests", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
    signed = ["-CA", f"{folder}/ca.pem", "-CAkey", f"{folder}/ca.key", "-addext", "basicConstraints=critical,CA:FALSE"]
    usage = ["-addext", "keyUsage=critical,digitalSignature", "-addext", "extendedKeyUsage=serverAuth"]
    _certify(folder, "crt", f"/CN={NAME}", "-addext", names, *usage, *signed)
    (folder / "server.pem").write_text((folder / "crt.key").read_text() + (folder / "crt.pem").read_text())
    return folder / "ca.pem"


def _certify(folder: Path, name: str, subject: str, *more: str) -> None:
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", subject]
    out = ["-keyout", f"{folder}/{name}.key", "-out", f"{folder}/{name}.pem"]
    subprocess.run(["openssl", "req", "-x509", *key, *more, *out], check=True, capture_output=True)


def message(number: int) -> tuple[str, str]:
    """(id, line) of a message of the script: what viewers send, and what moderators and the server do."""
    now, name = f"{number:08x}-5eed-4000-8000-000000000000", f"viewer{number % 17}"
    tags = f"@badge-info=;badges=subscriber/6;color=#1E90FF;display-name={name};emotes=25:0-4;id={now};"
    tags += f"room-id=1;tmi-sent-ts={time.time_ns() // 1_000_000};user-id={1000 + number % 17}"
    if number % 97 == 5:
        return now, f"{tags};login={name};target-msg-id=x :tmi.twitch.tv CLEARMSG #{CHANNEL} :gone"
    if number % 41 == 3:
        return now, f"{tags};msg-id=resub;system-msg=six\\smonths :tmi.twitch.tv USERNOTICE #{CHANNEL} :Kappa again"
    text = (
        f"Kappa {number} \N{FACE WITH TEARS OF JOY}\N{MATHEMATICAL SCRIPT CAPITAL A} \N{HEBREW LETTER ALEF} :) {{x}}"
    )
    if number % 50 == 7:
        text += "x" * 16384
    return now, f"{tags} :{name}!{name}@{name}.tmi.twitch.tv PRIVMSG #{CHANNEL} :{text}"


class Client:
    """A connection of a capture. `is_frozen`: it is neither read nor answered, and stays open."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.said: list[str] = []
        self.is_joined = self.is_frozen = self.is_gone = False
        self.nick = "*"

    def send(self, line: str) -> None:
        if not self.is_frozen:
            self.writer.write(f"{line}\r\n".encode())


class ChatServer:
    """`clients` are all that ever came, in order; `sent` the ids that were said, each to one that was there."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.ca = make_authority(folder)
        self.clients: list[Client] = []
        self.sent: list[str] = []
        self.number = 0
        self.says_roomstate = True
        self._pem, self._port = folder / "server.pem", port
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> ChatServer:
        self._thread.start()
        self._do(self._start())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._do(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(WAIT)
        self._loop.close()

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    # what a test does

    @property
    def joined(self) -> list[Client]:
        """Those that hear what is said."""
        return [client for client in self.clients if client.is_joined and not client.is_gone and not client.is_frozen]

    def wait(self, until: Callable[[], object], what: str = "the chat server", limit: float = WAIT) -> None:
        with self._changed:
            assert self._changed.wait_for(until, limit), f"waited for {what}"

    def wait_for_another(self, than: list[Client]) -> None:
        """Wait until one that is none of these is there."""
        self.wait(lambda: set(self.joined) - set(than), "a connection that takes over")

    def say(self, count: int = 1) -> None:
        """Say the next messages, all at once, to all that are there; at least one is waited for."""
        is_said = False
        while not is_said:
            self.wait(lambda: self.joined, "somebody who listens")
            is_said = self._do(self._say(count))

    def order(self, line: str) -> None:
        """Send this to all that are there."""
        self._do(self._order(line))

    def freeze(self) -> None:
        """From now on nothing is heard of those that are there; their connections stay."""
        for client in self.joined:
            client.is_frozen = True

    def hang_up(self, clients: list[Client]) -> None:
        """Close these connections when they have taken all that was said."""
        for client in clients:
            self._loop.call_soon_threadsafe(client.writer.close)

    def break_off(self, clients: list[Client]) -> None:
        """Close them at once."""
        self._do(self._break_off(clients))

    def kick(self, client: Client) -> None:
        """Put one out of the channel; it may come again."""
        client.is_joined = False
        self._loop.call_soon_threadsafe(client.send, f":op!o@o KICK #{CHANNEL} {client.nick} :out")

    # what it does itself

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(WAIT)

    async def _start(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._pem)
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port, ssl=context)

    async def _stop(self) -> None:
        assert self._server is not None
        self._server.close()
        await self._break_off(self.clients)
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _break_off(self, clients: list[Client]) -> None:
        for client in clients:
            client.is_gone = True  # nothing is said to it any more
            client.writer.transport.abort()

    async def _say(self, count: int) -> bool:
        """False if nobody is there any more; nothing happens between the look and the last message."""
        listening = self.joined
        for _ in range(count if listening else 0):
            self.number += 1
            now, line = message(self.number)
            self.sent.append(now)
            for client in listening:
                client.send(line)
        return bool(listening)

    async def _order(self, line: str) -> None:
        for client in self.joined:
            client.send(line)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = Client(reader, writer)
        self.clients.append(client)
        try:
            while data := await reader.readline():
                if not client.is_frozen:
                    self._answer(client, data.decode().rstrip("\r\n"))
                self._tell()
        except OSError:
            pass
        finally:
            client.is_gone = True
            writer.close()
            self._tell()

    def _tell(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _answer(self, client: Client, line: str) -> None:
        client.said.append(line)
        word, _, rest = line.partition(" ")
        if word == "CAP" and rest.startswith("REQ"):
            client.send(f":tmi.twitch.tv CAP * ACK {rest.partition(' ')[2]}")
        elif word == "NICK":
            client.nick = rest
            client.send(f":tmi.twitch.tv 001 {rest} :Welcome, GLHF!")
        elif word == "PING":
            client.send(f":tmi.twitch.tv PONG tmi.twitch.tv {rest}")
        elif word == "JOIN" and rest == f"#{CHANNEL}":
            client.send(f":{client.nick}!x@x JOIN #{CHANNEL}")
            client.send(f":x!x@x PRIVMSG #{CHANNEL} :before it is confirmed")
            client.send(f":tmi.twitch.tv 366 {client.nick} #{CHANNEL} :End of /NAMES list")
            if self.says_roomstate:
                client.send(f"@emote-only=0;room-id=1;slow=0 :tmi.twitch.tv ROOMSTATE #{CHANNEL}")
                client.is_joined = True


def _until_stdin_ends(ended: threading.Event) -> None:
    sys.stdin.read()
    ended.set()


def main(folder: Path, port: int) -> None:
    """See the head of this file."""
    ended = threading.Event()
    threading.Thread(target=_until_stdin_ends, args=(ended,), daemon=True).start()
    with ChatServer(folder, port) as server, (folder / "sent.txt").open("w", buffering=1) as sent:
        print("ready", flush=True)
        while not ended.wait(0.02):
            if server.joined:
                server.say()
                sent.write(f"{server.sent[-1]}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
