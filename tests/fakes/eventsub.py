# SPDX-License-Identifier: GPL-3.0-or-later
"""Twitch's events over WebSocket as they are documented, as far as they are used; with errors to order.

A session is welcomed, has to subscribe within `unused` seconds, gets a keepalive whenever it was quiet, and is closed
if it says anything. Subscriptions are made by HTTP (helix.py), cost 1 each unless the channel has authorised the
application, and end with the session.
"""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import Server, ServerConnection, serve

from tests.fakes.helix import id_of

if TYPE_CHECKING:
    from types import TracebackType

COST_MAX = 10
Answer = tuple[int, dict[str, Any], dict[str, str]]


@dataclass
class Session:
    """One connection: its subscriptions, id -> body, and whether it still says anything."""

    number: str
    socket: ServerConnection
    subscriptions: dict[str, dict[str, Any]] = field(default_factory=dict)
    is_silent: bool = False
    heard: list[str] = field(default_factory=list)
    """What the client has sent: it never should."""
    said_at: float = field(default_factory=time.monotonic)


class EventSubServer:
    """`sessions` are those that are connected, by id; `welcomes` counts all that ever were."""

    def __init__(self, *, keepalive: float = 10.0, unused: float = 10.0) -> None:
        self.keepalive = keepalive
        self.unused = unused
        self.authorized: set[str] = set()
        """Logins whose subscriptions cost nothing."""
        self.answers: list[Answer] = []
        """Given to requests for subscriptions instead of what would be right, one each."""
        self.opening: Callable[[ServerConnection], bool] = lambda _socket: False
        """Says something else than a welcome, if it returns True."""
        self.attempts: list[dict[str, Any]] = []
        self.sessions: dict[str, Session] = {}
        self.welcomes = 0
        self.moved: dict[str, Session] = {}
        """Where sessions are to go: by the last part of the URL."""
        self.changed = threading.Condition()
        self.numbers = itertools.count(1)
        self.server: Server = serve(self._serve, "127.0.0.1", 0, close_timeout=1)

    def __enter__(self) -> EventSubServer:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.server.shutdown()
        for session in list(self.sessions.values()):
            session.socket.close()

    @property
    def address(self) -> str:
        return f"ws://127.0.0.1:{self.server.socket.getsockname()[1]}/ws"

    # what a test does

    def wait(self, condition: Callable[[], bool], what: str, timeout: float = 15.0) -> None:
        """Until it holds, however the sessions change."""
        with self.changed:
            assert self.changed.wait_for(condition, timeout), f"not within {timeout} s: {what}"

    @property
    def held(self) -> set[tuple[str, str]]:
        """(type, login) of all subscriptions."""
        return {
            (body["type"], body["condition"]["broadcaster_user_id"].removeprefix("id-"))
            for session in list(self.sessions.values())
            for body in list(session.subscriptions.values())
        }

    def notify(self, kind: str, login: str, *, message: str | None = None) -> str:
        """Tell of an event whoever has subscribed to it; the message's id."""
        told = message or f"m{next(self.numbers)}"
        for session in list(self.sessions.values()):
            for number, body in session.subscriptions.items():
                if (body["type"], body["condition"]["broadcaster_user_id"]) == (kind, id_of(login)):
                    payload = {
                        "subscription": {"id": number, **body},
                        "event": {"broadcaster_user_id": id_of(login), "broadcaster_user_login": login},
                    }
                    self._say(session, "notification", payload, told)
        return told

    def revoke(self, kind: str, login: str, status: str = "authorization_revoked") -> None:
        """End a subscription."""
        for session in list(self.sessions.values()):
            for number, body in list(session.subscriptions.items()):
                if (body["type"], body["condition"]["broadcaster_user_id"]) == (kind, id_of(login)):
                    del session.subscriptions[number]
                    self._say(session, "revocation", {"subscription": {"id": number, "status": status, **body}})

    def close(self, code: int) -> None:
        """Close every connection."""
        for session in list(self.sessions.values()):
            session.socket.close(code)

    def reconnect(self, url: str | None = None) -> None:
        """Ask every session to go elsewhere: it keeps its id and its subscriptions."""
        for session in list(self.sessions.values()):
            self.moved[session.number] = session
            target = url or f"{self.address}/{session.number}"
            told = {"id": session.number, "status": "reconnecting", "reconnect_url": target}
            self._say(session, "session_reconnect", {"session": told})

    def say_raw(self, text: str) -> None:
        """Say anything to all."""
        for session in list(self.sessions.values()):
            session.socket.send(text)

    # what Twitch does

    def subscribe(self, body: dict[str, Any]) -> Answer:
        """The answer to a request for a subscription."""
        with self.changed:
            self.attempts.append(body)
            answer = self.answers.pop(0) if self.answers else self._subscribe(body)
            self.changed.notify_all()
            return answer

    def _subscribe(self, body: dict[str, Any]) -> Answer:
        limits = {"Ratelimit-Limit": "800", "Ratelimit-Remaining": "700"}
        session = self.sessions.get(body["transport"]["session_id"])
        if session is None:
            return 400, {"message": "websocket transport session does not exist or has already disconnected"}, limits
        login = body["condition"]["broadcaster_user_id"].removeprefix("id-")
        if (body["type"], login) in self.held:
            return 409, {"message": "subscription already exists"}, limits
        spent = sum(1 for _, other in self.held if other not in self.authorized)
        cost = 0 if login in self.authorized else 1
        if spent + cost > COST_MAX:
            return 429, {"message": "number of websocket subscriptions exceeded the max total cost"}, limits
        number = f"s{next(self.numbers)}"
        session.subscriptions[number] = body
        made = {"id": number, "status": "enabled", "cost": cost, **body}
        return 202, {"data": [made], "total_cost": spent + cost, "max_total_cost": COST_MAX}, limits

    def unsubscribe(self, number: str) -> bool:
        """Whether there was such a subscription."""
        with self.changed:
            found = [session for session in self.sessions.values() if session.subscriptions.pop(number, None)]
            self.changed.notify_all()
            return bool(found)

    def _serve(self, socket: ServerConnection) -> None:
        if self.opening(socket):
            return
        assert socket.request is not None
        moved = self.moved.pop(socket.request.path.rpartition("/")[2], None)
        session = Session(moved.number if moved else f"session-{next(self.numbers)}", socket)
        if moved is not None:
            session.subscriptions = moved.subscriptions
        with self.changed:
            self.sessions[session.number] = session
            self.welcomes += 1
            self.changed.notify_all()
        told = {"id": session.number, "status": "connected", "keepalive_timeout_seconds": self.keepalive}
        try:
            self._say(session, "session_welcome", {"session": {**told, "reconnect_url": None}})
            if moved is not None:
                moved.socket.close(4004)
            self._keep(session)
        except ConnectionClosed:
            pass
        finally:
            with self.changed:
                if self.sessions.get(session.number) is session:
                    del self.sessions[session.number]
                self.changed.notify_all()

    def _keep(self, session: Session) -> None:
        began = time.monotonic()
        while True:
            try:
                heard = session.socket.recv(timeout=self.keepalive / 10)
            except TimeoutError:
                pass
            else:
                session.heard.append(str(heard))
                session.socket.close(4001)
            now = time.monotonic()
            if not session.subscriptions and now - began > self.unused:
                session.socket.close(4003)
            if now - session.said_at > self.keepalive * 0.8:
                self._say(session, "session_keepalive", {})

    def _say(self, session: Session, kind: str, payload: dict[str, Any], message: str | None = None) -> None:
        if session.is_silent:
            return
        with self.changed:
            session.said_at = time.monotonic()
            self.changed.notify_all()
        metadata = {"message_id": message or f"m{next(self.numbers)}", "message_type": kind}
        session.socket.send(json.dumps({"metadata": metadata, "payload": payload}))
