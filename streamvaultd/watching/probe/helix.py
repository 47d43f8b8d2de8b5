# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks Twitch's own interface (Helix) for many channels at once. Loaded by probed.py, by its path: it imports the
standard library and requests, which comes with streamlink, alone.

A question has "logins" (100 at most), "client", "secret", "api" and "auth", the addresses. The answer has "live":
login -> [id, title, category] of those that are, and "tags": login -> their tags; or is trouble, with "retry": seconds
to leave the interface alone.
"""

from __future__ import annotations

import threading
import time
from typing import Any

LOGINS_MAX = 100
TIMEOUT = 8.0
TEXT_MAX = 140
TAGS_MAX = 10
TAG_MAX = 50
"""A stream has ten tags of 25 characters at most (dev.twitch.tv/docs/api/reference, Modify Channel Information)."""

RETRY_MAX = 900.0
VALID = 3600.0
"""Twitch wants users' tokens to be validated when they are first used, and then at this interval (s)."""

EARLY = 60.0
"""A token is renewed so long (s) before it expires."""


class Refused(Exception):
    """The interface answers something else than it should; `retry`: when to ask again (s)."""

    def __init__(self, why: str, *, network: bool = False, retry: float = 0.0) -> None:
        super().__init__(why)
        self.network = network
        self.retry = retry


class Helix:
    """Keeps the application's token, and what the rate limit says."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.token = ""
        self.expires = float("-inf")
        self.closed_until = float("-inf")

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        """The answer to one question; never raises for what the interface does."""
        with self.lock:
            try:
                found = self.streams(question)
                return {"outcome": "live", "live": parse_streams(found), "tags": parse_tags(found)}
            except Refused as error:
                trouble = "network" if error.network else "site"
                return {"outcome": "trouble", "detail": str(error), "trouble": trouble, "retry": error.retry}

    def streams(self, question: dict[str, Any]) -> Any:
        """What the interface says of those of the logins that are live."""
        wait = self.closed_until - time.monotonic()
        if wait > 0:
            raise Refused("Twitch allows no more requests for now", retry=wait)
        response = self.get_streams(question)
        if response.status_code == 401:  # the token was revoked, or has expired early
            self.token = ""
            response = self.get_streams(question)
        self.note_limit(response)
        if response.status_code != 200:
            raise Refused(f"Twitch answers {response.status_code} to Helix requests")
        try:
            return response.json()
        except ValueError:
            raise Refused("Twitch's answer cannot be read") from None

    def get_streams(self, question: dict[str, Any]) -> Any:
        """The interface's answer, whatever it is."""
        if not self.token or time.monotonic() > self.expires - EARLY:
            self.renew(question)
        headers = {"Client-Id": question["client"], "Authorization": f"Bearer {self.token}"}
        logins = [("user_login", login) for login in question["logins"][:LOGINS_MAX]]
        url = f"{question['api']}/helix/streams"
        return call("get", url, params=[*logins, ("first", str(LOGINS_MAX))], headers=headers)

    def renew(self, question: dict[str, Any]) -> None:
        """A new token for the application (OAuth client credentials)."""
        given = {
            "client_id": question["client"],
            "client_secret": question["secret"],
            "grant_type": "client_credentials",
        }
        response = call("post", f"{question['auth']}/oauth2/token", data=given)
        if response.status_code != 200:
            raise Refused(f"Twitch answers {response.status_code} when asked for a token: is the credential right?")
        try:
            told = response.json()
            self.token, self.expires = str(told["access_token"]), time.monotonic() + float(told["expires_in"])
        except (ValueError, KeyError, TypeError):
            raise Refused("Twitch's token cannot be read") from None

    def note_limit(self, response: Any) -> None:
        """Keep to the rate limit: when it is used up nobody is asked before it is reset."""
        try:
            remaining = int(response.headers.get("Ratelimit-Remaining", "1"))
            reset = float(response.headers.get("Ratelimit-Reset", "0"))
        except ValueError:
            return
        if remaining <= 0 or response.status_code == 429:
            # Twitch's clock and ours may differ, and ours may be set
            wait = min(RETRY_MAX, max(1.0, reset - time.time()))
            self.closed_until = time.monotonic() + wait
            if response.status_code == 429:
                raise Refused("Twitch answers 429: too many requests", retry=wait)


class Account:
    """Requests in a user's name, for eventsub.py. A token that is refused is renewed, if there is a refresh token."""

    def __init__(self, question: dict[str, Any]) -> None:
        self.question = question
        self.token, self.fresh = question["token"], question.get("refresh", "")
        self.validated_at = float("-inf")

    def request(self, method: str, path: str, **more: Any) -> Any:
        """The interface's answer; raises the web's Refused if there is none, or the token is no good."""
        response = self.send(method, path, **more)
        if response.status_code == 401 and self.fresh:
            self.renew()
            response = self.send(method, path, **more)
        if response.status_code == 401:
            raise Refused("Twitch refuses the user's token")
        return response

    def send(self, method: str, path: str, **more: Any) -> Any:
        headers = {"Client-Id": self.question["client"], "Authorization": f"Bearer {self.token}"}
        return call(method, f"{self.question['api']}/helix/{path}", headers=headers, **more)

    def renew(self) -> None:
        given = {
            "client_id": self.question["client"],
            "client_secret": self.question["secret"],
            "grant_type": "refresh_token",
            "refresh_token": self.fresh,
        }
        response = call("post", f"{self.question['auth']}/oauth2/token", data=given)
        if response.status_code != 200:
            raise Refused(f"Twitch answers {response.status_code} when asked to renew the user's token")
        try:
            told = response.json()
            self.token, self.fresh = str(told["access_token"]), str(told.get("refresh_token") or self.fresh)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise Refused("Twitch's token cannot be read") from None

    def keep_valid(self) -> None:
        """Validate the token if it is time to. No answer says nothing about the token."""
        if time.monotonic() < self.validated_at + VALID:
            return
        self.validated_at = time.monotonic()
        headers = {"Authorization": f"OAuth {self.token}"}
        try:
            response = call("get", f"{self.question['auth']}/oauth2/validate", headers=headers)
        except Refused:
            return
        if response.status_code == 401:
            if not self.fresh:
                raise Refused("Twitch refuses the user's token")
            self.renew()

    def ids_of(self, logins: list[str]) -> dict[str, str]:
        """login -> id, of those that there are."""
        found: dict[str, str] = {}
        for start in range(0, len(logins), LOGINS_MAX):
            named = [("login", login) for login in logins[start : start + LOGINS_MAX]]
            response = self.request("get", "users", params=named)
            if response.status_code != 200:
                raise Refused(f"Twitch answers {response.status_code} when asked for ids")
            try:
                found |= {str(user["login"]).lower(): str(user["id"]) for user in response.json()["data"]}
            except (ValueError, KeyError, TypeError, AttributeError):
                raise Refused("Twitch's answer cannot be read") from None
        return found


def call(method: str, url: str, **more: Any) -> Any:
    """One request; raises Refused if there is no answer. Texts of errors may hold what was sent: not kept."""
    import requests

    try:
        return requests.request(method, url, timeout=TIMEOUT, allow_redirects=False, **more)
    except requests.RequestException as error:
        raise Refused(f"Twitch cannot be reached ({type(error).__name__})", network=True) from None


def parse_streams(found: Any) -> dict[str, list[str]]:
    """login -> [id, title, category], of the streams in an answer."""
    try:
        return {
            str(stream["user_login"]).lower(): [str(stream[name])[:TEXT_MAX] for name in ("id", "title", "game_name")]
            for stream in found["data"]
            if stream["type"] == "live"
        }
    except (KeyError, TypeError):
        raise Refused("Twitch's answer cannot be read") from None


def parse_tags(found: Any) -> dict[str, list[str]]:
    """login -> tags, of the streams in an answer that has been read. What is no list of tags is left out."""
    return {
        str(stream["user_login"]).lower(): [str(tag)[:TAG_MAX] for tag in tags[:TAGS_MAX]]
        for stream in found["data"]
        if isinstance(tags := stream.get("tags") or [], list)
    }
