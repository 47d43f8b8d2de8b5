# SPDX-License-Identifier: GPL-3.0-or-later
"""Listens to what Twitch tells by itself (EventSub over WebSocket). Loaded by probed.py, by its path: it imports the
standard library, and requests and websocket, which come with streamlink, alone.

A question has "logins", who is to be listened to from now on; "client" and "secret" of the application, "token" and
perhaps "refresh" of a user; and the addresses "api", "auth" and "events". The answer says how it stands. What is heard
is written as {"id": 0, "hint": [login, type]}, and is a reason to look, no more than that: events are lost and
subscriptions rot without a word, so a streamer that is listened to is asked as often as all others.

One connection, for its 300 subscriptions are more than Twitch lets anybody have of channels that have not authorised
the application (a cost of 10). A streamer that is left over is only asked.
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from typing import Any

TYPES = (("stream.online", "1"), ("channel.update", "2"), ("stream.offline", "1"))
"""What is subscribed to, most wanted first, and the versions."""

TIMEOUT = 8.0
GRACE = 2.0
"""A keepalive may be late by so long (s)."""

SUBSCRIPTIONS_MAX = 300
PACE = 0.1
"""The least time (s) between two subscriptions: Twitch allows 800 requests a minute."""

AGAIN = 30.0
"""A subscription that Twitch could not make is tried again after so long (s)."""

RETRY_MIN = 1.0
RETRY_MAX = 600.0
WELL = 60.0
"""A connection that has lasted so long (s) was a good one: the next one is made at once."""

SEEN_MAX = 1000
MESSAGES_MAX = 100
RESET_MAX = 900.0

Json = dict[str, Any]


class Lost(Exception):
    """The connection is of no use any more."""


class Connection:
    """A WebSocket that was welcomed. Nothing is ever sent on it: Twitch would close it."""

    def __init__(self, url: str) -> None:
        import websocket

        self.socket: Any
        try:
            self.socket = websocket.create_connection(url, timeout=TIMEOUT, redirect_limit=0)
        except (OSError, ValueError, websocket.WebSocketException) as error:
            raise Lost(f"Twitch's events cannot be reached ({type(error).__name__})") from None
        self.heard_at = time.monotonic()
        try:
            self.session, self.keepalive = welcome_in(self.receive(TIMEOUT))
        except Lost:
            self.close()
            raise

    def receive(self, seconds: float) -> Json | None:
        """The next message, None if there was none; raises Lost when there will be none."""
        import websocket

        self.socket.settimeout(max(seconds, 0.01))
        try:
            opcode, data = self.socket.recv_data()
        except websocket.WebSocketTimeoutException:
            return None
        except (OSError, websocket.WebSocketException) as error:
            raise Lost(f"the connection to Twitch's events broke ({type(error).__name__})") from None
        self.heard_at = time.monotonic()
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            raise Lost(f"Twitch closed the connection ({int.from_bytes(data[:2], 'big')})")
        try:
            message = json.loads(data)
            kind_of(message)
        except (ValueError, KeyError, TypeError):
            raise Lost("what Twitch tells cannot be read") from None
        return dict(message)

    @property
    def silence_left(self) -> float:
        """Seconds until silence means that the connection is dead."""
        return self.heard_at + self.keepalive + GRACE - time.monotonic()

    def close(self) -> None:
        """Without waiting for the other side."""
        self.socket.shutdown()


def welcome_in(message: Json | None) -> tuple[str, float]:
    """The session's id, and how long (s) it may be silent."""
    if message is None or kind_of(message) != "session_welcome":
        raise Lost("Twitch's events begin without a welcome")
    try:
        session = message["payload"]["session"]
        return str(session["id"]), float(session["keepalive_timeout_seconds"])
    except (KeyError, TypeError, ValueError):
        raise Lost("Twitch's welcome cannot be read") from None


def kind_of(message: Any) -> str:
    """What kind of message it is."""
    return str(message["metadata"]["message_type"])


class Subscriptions:
    """Of one session: those it has, those to be made, and who is left to being asked."""

    def __init__(self, web: Any, account: Any, session: str) -> None:
        self.web = web
        self.account = account
        self.session = session
        self.followed: dict[str, str] = {}
        self.pending: deque[tuple[str, str, str]] = deque()
        self.held: dict[str, str] = {}
        """id -> login; an id of our own where Twitch says that there is one already"""
        self.left: set[str] = set()
        self.not_before = 0.0

    def follow(self, ids: dict[str, str]) -> None:
        """These are to be listened to now, by login."""
        gone, new = self.followed.keys() - ids.keys(), ids.keys() - self.followed.keys()
        self.followed = ids
        self.left -= gone
        self.pending = deque(one for one in self.pending if one[2] not in gone)
        self.pending += [(kind, version, login) for kind, version in TYPES for login in sorted(new)]
        for number in [number for number, login in self.held.items() if login in gone]:
            del self.held[number]
            self.account.request("delete", "eventsub/subscriptions", params={"id": number})

    def make_next(self) -> None:
        """One of those to be made. Raises Refused if the token is no good; all else concerns this one alone."""
        kind, version, login = wanted = self.pending.popleft()
        self.not_before = time.monotonic() + PACE
        if login in self.left or len(self.held) >= SUBSCRIPTIONS_MAX:
            self.left.add(login)
            return
        body = {
            "type": kind, "version": version, "condition": {"broadcaster_user_id": self.followed[login]},
            "transport": {"method": "websocket", "session_id": self.session},
        }  # fmt: skip
        try:
            response = self.account.request("post", "eventsub/subscriptions", json=body)
        except self.web.Refused as error:
            if not error.network:
                raise
            self.put_off(wanted, AGAIN)
            return
        self.note(wanted, response)

    def note(self, wanted: tuple[str, str, str], response: Any) -> None:
        """What Twitch answered."""
        kind, _, login = wanted
        status = response.status_code
        if status == 202:
            self.held[id_in(response) or f"{kind} {login}"] = login
        elif status == 409:
            self.held[f"{kind} {login}"] = login
        elif status >= 500:
            self.put_off(wanted, AGAIN)
        elif status == 429 and response.headers.get("Ratelimit-Remaining") == "0":
            self.put_off(wanted, until_reset(response))
        else:  # 429: that would be too many; 400, 403: not this channel, or not by this user
            self.left.add(login)

    def put_off(self, wanted: tuple[str, str, str], seconds: float) -> None:
        self.pending.appendleft(wanted)
        self.not_before = time.monotonic() + seconds

    def revoke(self, payload: Json) -> None:
        """Twitch has ended a subscription: whose it was is asked, no more."""
        login = self.held.pop(str(payload["subscription"]["id"]), None)
        if login is not None:
            self.left.add(login)


def id_in(response: Any) -> str:
    """Of a subscription that was made; "" if it cannot be read."""
    try:
        return str(response.json()["data"][0]["id"])
    except (ValueError, KeyError, TypeError, IndexError):
        return ""


def until_reset(response: Any) -> float:
    """Seconds until the rate limit is reset."""
    try:
        reset = float(response.headers.get("Ratelimit-Reset", "0")) - time.time()
    except ValueError:
        reset = 0.0
    return min(RESET_MAX, max(1.0, reset))


class EventSub:
    """One thread that listens for as long as the process lives, from the first question on. `say` writes a line."""

    def __init__(self, web: Any, say: Any) -> None:
        self.web = web
        self.say = say
        self.changed = threading.Condition()
        self.account: Any = None
        self.logins: list[str] = []
        self.trouble: tuple[str, str] | None = None
        self.held, self.left = 0, 0
        self.seen: deque[str] = deque(maxlen=SEEN_MAX)

    def answer(self, question: Json) -> Json:
        """Listen to these from now on."""
        keys = {name: value for name, value in question.items() if name not in ("logins", "id", "verb")}
        with self.changed:
            if self.account is None:
                threading.Thread(target=self.run, daemon=True).start()
            if self.account is None or self.account.question != keys:
                self.account = self.web.Account(keys)
            if self.logins != question["logins"]:
                self.logins = question["logins"]
            self.changed.notify_all()
        if self.trouble is not None:
            return {"outcome": "trouble", "detail": self.trouble[0], "trouble": self.trouble[1]}
        return {"outcome": "live", "detail": f"{self.held} subscriptions, {self.left} channels without"}

    def run(self) -> None:
        """One connection after the other."""
        failures = 0
        while True:
            began = time.monotonic()
            try:
                self.listen()
            except Lost as error:
                self.trouble = (str(error), "network")
            except self.web.Refused as error:
                self.trouble = (str(error), "network" if error.network else "site")
            except Exception as error:  # what Twitch may send is anything
                self.trouble = (f"{type(error).__name__} while listening to Twitch", "site")
            self.held = 0
            failures = 0 if time.monotonic() - began > WELL else failures + 1
            time.sleep(min(RETRY_MIN * 2.0 ** min(failures, 16), RETRY_MAX))

    def listen(self) -> None:
        """Until there is nobody to be heard any more; raises Lost or Refused."""
        with self.changed:
            self.changed.wait_for(lambda: self.logins)
            account, logins = self.account, self.logins
        account.keep_valid()
        ids = account.ids_of(logins)  # before the connection, which has to be used within seconds
        if not ids:
            raise self.web.Refused("Twitch knows none of the channels")
        connection = Connection(account.question["events"])
        try:
            book = Subscriptions(self.web, account, connection.session)
            book.follow(ids)
            while self.account is account and self.logins:
                if self.logins is not logins:
                    logins = self.logins
                    book.follow(account.ids_of(logins))
                account.keep_valid()
                self.tend(book)
                connection = self.hear(connection, book)
        finally:
            connection.close()

    def tend(self, book: Subscriptions) -> None:
        """Make the next subscription, if it is time to."""
        if book.pending and time.monotonic() >= book.not_before:
            book.make_next()
        self.held, self.left = len(book.held), len(book.left)
        if not book.pending and not book.held:
            raise self.web.Refused("Twitch allows no subscription at all")
        if book.held:
            self.trouble = None

    def hear(self, connection: Connection, book: Subscriptions) -> Connection:
        """One message, if there is one soon; the connection to be listened to after it."""
        message = connection.receive(PACE if book.pending else min(1.0, max(connection.silence_left, PACE)))
        if message is None:
            if connection.silence_left <= 0:
                raise Lost("Twitch's events are silent")
            return connection
        if kind_of(message) == "session_reconnect":
            return self.move(connection, book, str(message["payload"]["session"]["reconnect_url"]))
        self.take(message, book)
        return connection

    def move(self, old: Connection, book: Subscriptions, url: str) -> Connection:
        """Go where Twitch wants, with all subscriptions; the old connection is listened to until the new one is
        there. If that cannot be had, the old one is closed by Twitch soon, and all is made anew.
        """
        if url.partition(":")[0] != book.account.question["events"].partition(":")[0]:
            return old
        try:
            new = Connection(url)
        except Lost:
            return old
        book.session = new.session
        try:
            for _ in range(MESSAGES_MAX):
                message = old.receive(0.0)
                if message is None:
                    break
                self.take(message, book)
        except Lost:
            pass
        old.close()
        return new

    def take(self, message: Json, book: Subscriptions) -> None:
        """Tell what an event is about, once; a message that is sent again has the id it had."""
        number, kind = str(message["metadata"].get("message_id", "")), kind_of(message)
        if number and number in self.seen:
            return
        self.seen.append(number)
        if kind == "revocation":
            book.revoke(message["payload"])
        elif kind == "notification":
            login = str(message["payload"]["event"]["broadcaster_user_login"]).lower()
            if login in book.followed:
                self.say({"id": 0, "hint": [login, str(message["payload"]["subscription"]["type"])]})
