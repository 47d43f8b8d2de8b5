# SPDX-License-Identifier: GPL-3.0-or-later
"""The process that notifies: streamvault-notify@.service, one instance for each message to one target.

It reads one line of JSON and writes one, and has a time to live. The URL of a target is in the credential
streamvault-notify.TARGET of its unit, which the daemon cannot read: the line has the target's name alone. The standard
library and apprise (https://github.com/caronc/apprise), which is imported when it is needed, are all that it uses.

    {"target": …, "title": …, "body": …, "kind": …} → {"why": …, "final": …}; `why` is "" if it was sent
    {"targets": […]} → {"troubles": {TARGET: WHY}}; nothing is sent
"""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import sys
from typing import Any, NoReturn
from urllib.parse import unquote

LINE_MAX = 64 * 1024
LIFETIME = 30
"""Seconds after which it is killed by its own alarm, wherever it hangs."""

PREFIX = "streamvault-notify."
URL_MAX = 8192
PIECE_MIN = 4
"""Characters of a URL's piece that may be a secret."""

NO_APPRISE = "apprise is not installed: apt install apprise"


class Unusable(Exception):
    """A target that cannot be notified, however often it is tried."""


class Complaints(logging.Handler):
    """What apprise says of a failure."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.last = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.last = record.getMessage()


def url_of(target: str) -> str:
    """The URL in a target's credential."""
    directory = os.environ.get("CREDENTIALS_DIRECTORY", "")
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", target):
        raise Unusable("this is no name of a credential")
    try:
        with open(os.path.join(directory, PREFIX + target), encoding="utf-8") as file:  # noqa: PTH118, PTH123
            lines = [line.strip() for line in file.read(URL_MAX).splitlines()]
    except FileNotFoundError:
        raise Unusable(f"there is no credential {PREFIX}{target}") from None
    except (OSError, UnicodeDecodeError):
        raise Unusable(f"the credential {PREFIX}{target} cannot be read") from None
    urls = [line for line in lines if line and not line.startswith("#")]
    if len(urls) != 1:
        raise Unusable(f"the credential {PREFIX}{target} must have one line, a URL of apprise")
    return urls[0]


def without_secrets(text: str, url: str) -> str:
    """A text of apprise's without any piece of the URL but its scheme: each may be a token."""
    scheme, _, rest = url.partition("://")
    pieces = {piece for piece in re.split(r"[/?&=:@,#]+", rest) if len(piece) >= PIECE_MIN}
    pieces |= {unquote(piece) for piece in pieces}
    for piece in sorted({rest, *pieces} - {"", scheme}, key=len, reverse=True):
        text = text.replace(piece, "***")
    return " ".join(text.split())[:300]


def opened(target: str, complaints: Complaints) -> tuple[Any, str]:
    """apprise with this target, and its URL; raises Unusable."""
    url = url_of(target)
    try:
        import apprise
    except ImportError:
        raise Unusable(NO_APPRISE) from None
    logger = logging.getLogger("apprise")
    logger.handlers, logger.propagate = [complaints], False
    found = apprise.Apprise(asset=apprise.AppriseAsset(app_id="streamvaultd", async_mode=False))
    if not found.add(url):
        raise Unusable(f"apprise does not take the URL of {PREFIX}{target}: {without_secrets(complaints.last, url)}")
    return found, url


def send(question: dict[str, Any]) -> dict[str, Any]:
    """Notify one target."""
    complaints = Complaints()
    try:
        found, url = opened(str(question["target"]), complaints)
    except Unusable as error:
        return {"why": str(error), "final": True}
    try:
        is_sent = found.notify(
            title=question["title"], body=question["body"], notify_type=question["kind"], body_format="text"
        )
    except Exception as error:  # a plugin may raise anything
        complaints.last, is_sent = complaints.last or f"{type(error).__name__} in apprise", False
    if is_sent:
        return {"why": ""}
    return {"why": without_secrets(complaints.last, url) or "apprise does not say why"}


def check(targets: list[str]) -> dict[str, Any]:
    """What is wrong with these targets, as far as it can be told without sending anything."""
    troubles: dict[str, str] = {}
    for target in targets:
        try:
            opened(target, Complaints())
        except Unusable as error:
            troubles[target] = str(error)
    return {"troubles": troubles}


def main() -> NoReturn:
    """Answer one line."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(LIFETIME)
    # What a library prints must not get between our lines.
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    line = sys.stdin.buffer.readline(LINE_MAX)
    if line.endswith(b"\n"):
        question = json.loads(line)
        answer = check(question["targets"]) if "targets" in question else send(question)
        output.write(json.dumps(answer).encode() + b"\n")
        output.flush()
    os._exit(0)  # whatever threads a plugin may have left


if __name__ == "__main__":
    main()
