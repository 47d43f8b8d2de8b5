# SPDX-License-Identifier: GPL-3.0-or-later
"""Varlink messages (https://varlink.org/Method-Call): bytes to objects and back. No I/O.

The parser is strict about the shape of a message, and silent about keys it does not know: a peer may be
newer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from streamvaultd.varlink.framing import MESSAGE_BYTES_MAX, REPLY_BYTES_MAX, ProtocolError, Splitter

if TYPE_CHECKING:
    from streamvaultd.errors import VaultError

__all__ = [
    "MESSAGE_BYTES_MAX",
    "REPLY_BYTES_MAX",
    "Decoder",
    "MethodCall",
    "Parameters",
    "ProtocolError",
    "Reply",
    "encode",
    "parse_call",
    "parse_reply",
]

Parameters = dict[str, Any]


class MethodCall(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a client asks: `method` is interface and name, joined by a dot."""

    method: str
    parameters: Parameters | None = None
    more: bool = False
    oneway: bool = False
    upgrade: bool = False


class Reply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a service answers: `continues` promises another reply, `error` names what went wrong."""

    parameters: Parameters | None = None
    continues: bool = False
    error: str | None = None

    @classmethod
    def of_error(cls, error: VaultError) -> Reply:
        return cls(error=error.name, parameters=dict(error.fields))


class Decoder:
    """Turns received bytes into JSON objects.

    `feed` raises MessageTooLarge or ProtocolError; both mean that the stream has lost its meaning.
    """

    def __init__(self, limit: int = MESSAGE_BYTES_MAX) -> None:
        self._splitter = Splitter(limit)

    @property
    def is_empty(self) -> bool:
        """True between two messages."""
        return self._splitter.is_empty

    def feed(self, data: bytes) -> list[Parameters]:
        return [_parse_object(message) for message in self._splitter.feed(data)]


def encode(message: MethodCall | Reply | Parameters) -> bytes:
    """Return the message as it goes over the wire, its NUL included."""
    return msgspec.json.encode(message) + b"\0"


def parse_call(message: Parameters) -> MethodCall:
    """Read a call; one that is none raises ProtocolError."""
    try:
        return msgspec.convert(message, MethodCall)
    except msgspec.ValidationError as error:
        raise ProtocolError(f"not a call: {error}") from error


def parse_reply(message: Parameters) -> Reply:
    """Read a reply; one that is none raises ProtocolError."""
    try:
        return msgspec.convert(message, Reply)
    except msgspec.ValidationError as error:
        raise ProtocolError(f"not a reply: {error}") from error


def _parse_object(message: bytes) -> Parameters:
    try:
        value = msgspec.json.decode(message)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ProtocolError("not a JSON object")
    return value
