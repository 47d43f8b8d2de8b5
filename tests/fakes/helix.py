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

    from tests.fakes.eventsub import EventSubServer

CLIENT, SECRET, REFRESH = "client-0", "planted-secret-0", "planted-refresh-0"
LOGINS_MAX = 100
HANG = 60.0


class HelixServer:
    """`live` maps logins to (id, title, category). `faults` are given, one a request of streams, before answers;
    `fault` is given to every one of them, until it is "" again. `events` has the sessions for subscriptions.
    """

    def __init__(self, port: int = 0) -> None:
        self.live: dict[str, tuple[str, str, str]] = {}
        self.tags: dict[str, list[str]] = {}
        self.faults: list[str] = []
        self.fault = ""
        self.reset_after = 30.0
        """When the limit on requests is reset, in seconds after it was reached."""
        self.requests: list[list[str]] = []
        self.asked_at: list[float] = []
        """When each request of streams came, on the monotonic clock."""
        self.answered = 0
        """Requests of streams that got an answer."""
        self.looked_at: list[str] = []
        """Channels that somebody looked at by /site/LOGIN, which stands for the pages of the site."""
        self.tokens = 0
        self.user_tokens = 0
        self.validated: list[str] = []
        """What tokens were asked about."""
        self.events: EventSubServer | None = None
        self.over = threading.Event()
        self.server = _Server(("127.0.0.1", port), self)

    def __enter__(self) -> HelixServer:
        self.serve()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.over.set()
        self.refuse()

    def refuse(self) -> None:
        """Connections are refused, until `serve()`."""
        self.server.shutdown()
        self.server.server_close()

    def serve(self) -> None:
        """Answer, at the address that it always had."""
        if self.server.socket.fileno() < 0:
            self.server = _Server(self.server.server_address[:2], self)  # type: ignore[arg-type]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    @property
    def token(self) -> str:
        """The only one that is valid for the application."""
        return f"planted-token-{self.tokens}"

    @property
    def user_token(self) -> str:
        """The only one that is valid for the user."""
        return f"planted-user-{self.user_tokens}"


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], helix: HelixServer) -> None:
        super().__init__(address, _Handler)
        self.helix = helix

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that have waited long enough go away."""


class _Handler(BaseHTTPRequestHandler):
    @property
    def helix(self) -> HelixServer:
        assert isinstance(self.server, _Server)
        return self.server.helix

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name for it
        """Nothing on stderr for each request."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        path = urlsplit(self.path).path
        if path == "/oauth2/token":
            self.do_token(parse_qs(body))
        elif path != "/helix/eventsub/subscriptions" or self.helix.events is None:
            self.say(404, {"status": 404})
        elif self.is_user():
            status, answer, headers = self.helix.events.subscribe(json.loads(body))
            self.say(status, answer, headers)

    def do_token(self, form: dict[str, list[str]]) -> None:
        application = {"client_id": [CLIENT], "client_secret": [SECRET]}
        if form == {**application, "grant_type": ["client_credentials"]}:
            self.helix.tokens += 1
            self.say(200, {"access_token": self.helix.token, "expires_in": 5_000_000, "token_type": "bearer"})
        elif form == {**application, "grant_type": ["refresh_token"], "refresh_token": [REFRESH]}:
            self.helix.user_tokens += 1
            self.say(200, {"access_token": self.helix.user_token, "refresh_token": REFRESH, "token_type": "bearer"})
        else:
            self.say(403, {"status": 403, "message": "invalid client secret"})

    def do_DELETE(self) -> None:
        number = dict(parse_qsl(urlsplit(self.path).query)).get("id", "")
        if self.helix.events is not None and self.is_user():
            self.say(204 if self.helix.events.unsubscribe(number) else 404, {})

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if parts.path == "/helix/users":
            if self.is_user():
                logins = [value for name, value in parse_qsl(parts.query) if name == "login"]
                self.say(200, {"data": [{"id": id_of(login), "login": login} for login in logins]})
        elif parts.path == "/helix/streams":
            self.do_streams([value for name, value in parse_qsl(parts.query) if name == "user_login"])
        elif parts.path == "/oauth2/validate":
            self.helix.validated.append(self.headers["Authorization"])
            is_valid = self.helix.validated[-1] == f"OAuth {self.helix.user_token}"
            self.say(200 if is_valid else 401, {"client_id": CLIENT, "expires_in": 5_000, "scopes": []})
        elif parts.path.startswith("/site/"):
            login = parts.path.removeprefix("/site/")
            self.helix.looked_at.append(login)
            self.say(200, self.helix.live.get(login))
        else:
            self.say(404, {"status": 404})

    def do_streams(self, logins: list[str]) -> None:
        helix = self.helix
        helix.requests.append(logins)
        helix.asked_at.append(time.monotonic())
        fault = helix.faults.pop(0) if helix.faults else helix.fault
        if fault == "timeout":
            helix.over.wait(HANG)
        elif fault == "401" or not self.is_authorized(helix.token):
            self.say(401, {"error": "Unauthorized", "status": 401, "message": "Invalid OAuth token"})
        elif fault == "429":
            reset = str(int(time.time() + helix.reset_after))
            self.say(429, {"status": 429}, {"Ratelimit-Remaining": "0", "Ratelimit-Reset": reset})
        elif fault == "500":
            self.say(500, {"status": 500})
        elif fault == "truncated":
            self.say(200, self.streams(logins), cut=10)
        elif not 0 < len(logins) <= LOGINS_MAX:
            self.say(400, {"error": "Bad Request", "status": 400})
        else:
            helix.answered += 1
            limits = {"Ratelimit-Limit": "800", "Ratelimit-Remaining": "799", "Ratelimit-Reset": "0"}
            self.say(200, self.streams(logins), limits)

    def is_authorized(self, token: str) -> bool:
        return (self.headers["Client-Id"], self.headers["Authorization"]) == (CLIENT, f"Bearer {token}")

    def is_user(self) -> bool:
        """Whether the request has the user's token; it is answered if it has not."""
        if self.is_authorized(self.helix.user_token):
            return True
        self.say(401, {"error": "Unauthorized", "status": 401, "message": "Invalid OAuth token"})
        return False

    def streams(self, logins: list[str]) -> dict[str, Any]:
        data = [
            {
                "id": found[0],
                "user_login": login,
                "type": "live",
                "title": found[1],
                "game_name": found[2],
                "tags": self.helix.tags.get(login),
            }
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


def id_of(login: str) -> str:
    """The number that stands for a channel."""
    return f"id-{login}"
