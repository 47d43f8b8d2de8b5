# SPDX-License-Identifier: GPL-3.0-or-later
"""Twitch's interface as its documentation describes it, as far as it is used; with errors to order."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

if TYPE_CHECKING:
    from types import TracebackType

CLIENT, SECRET = "client-0", "secret-0"
LOGINS_MAX = 100


class HelixServer:
    """`live` maps logins to (id, title, category); `faults` are given, one a request of streams, before answers."""

    def __init__(self) -> None:
        self.live: dict[str, tuple[str, str, str]] = {}
        self.faults: list[str] = []
        self.requests: list[list[str]] = []
        self.tokens = 0
        self.server = _Server(("127.0.0.1", 0), self)

    def __enter__(self) -> HelixServer:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.server.shutdown()
        self.server.server_close()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    @property
    def token(self) -> str:
        """The only one that is valid."""
        return f"token-{self.tokens}"


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], helix: HelixServer) -> None:
        super().__init__(address, _Handler)
        self.helix = helix


class _Handler(BaseHTTPRequestHandler):
    @property
    def helix(self) -> HelixServer:
        assert isinstance(self.server, _Server)
        return self.server.helix

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name for it
        """Nothing on stderr for each request."""

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        wanted = {"client_id": [CLIENT], "client_secret": [SECRET], "grant_type": ["client_credentials"]}
        if urlsplit(self.path).path != "/oauth2/token" or form != wanted:
            self.say(403, {"status": 403, "message": "invalid client secret"})
            return
        self.helix.tokens += 1
        self.say(200, {"access_token": self.helix.token, "expires_in": 5_000_000, "token_type": "bearer"})

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        logins = [value for name, value in parse_qsl(parts.query) if name == "user_login"]
        self.helix.requests.append(logins)
        fault = self.helix.faults.pop(0) if self.helix.faults else ""
        authorized = (self.headers["Client-Id"], self.headers["Authorization"])
        if fault == "401" or authorized != (CLIENT, f"Bearer {self.helix.token}"):
            self.say(401, {"error": "Unauthorized", "status": 401, "message": "Invalid OAuth token"})
        elif fault == "429":
            reset = str(int(time.time()) + 30)
            self.say(429, {"status": 429}, {"Ratelimit-Remaining": "0", "Ratelimit-Reset": reset})
        elif fault == "500":
            self.say(500, {"status": 500})
        elif fault == "truncated":
            self.say(200, self.streams(logins), cut=10)
        elif parts.path != "/helix/streams" or not 0 < len(logins) <= LOGINS_MAX:
            self.say(400, {"error": "Bad Request", "status": 400})
        else:
            limits = {"Ratelimit-Limit": "800", "Ratelimit-Remaining": "799", "Ratelimit-Reset": "0"}
            self.say(200, self.streams(logins), limits)

    def streams(self, logins: list[str]) -> dict[str, Any]:
        data = [
            {"id": found[0], "user_login": login, "type": "live", "title": found[1], "game_name": found[2]}
            for login in logins
            if (found := self.helix.live.get(login)) is not None
        ]
        return {"data": data, "pagination": {}}

    def say(self, status: int, body: Any, headers: dict[str, str] | None = None, cut: int = 0) -> None:
        text = json.dumps(body).encode()
        text = text[: len(text) - cut]
        self.send_response(status)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(text)),
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text)
