# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps streamlink, of whatever version, to http and https, and tells it at once which addresses are closed to it.

streamlink loads this file as it loads plugins (`--plugin-dir`), before it asks anybody for anything. It is no plugin.
It runs in streamlink's process and Python, so it imports what streamlink itself has.

What a source names, in playlists, keys, manifests and redirects, is fetched by `requests`, which picks an adapter by
the scheme: there is one for files, and plugins may bring others. The kernel drops what is sent to a closed address
(IPAddressDeny= of the scope), which a connection learns from its timeout; a datagram to the same address is refused at
once, so one is tried first. This is no barrier against a streamlink that was taken over: scopes/confine.py and the
scope are.
"""

from __future__ import annotations

import errno
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.exceptions import ConnectionError as NoConnection
from requests.exceptions import InvalidSchema

SCHEMES = ("http://", "https://")
DISCARD = 9
"""The port that the datagram is addressed to; nobody has to listen there (RFC 863)."""

_get_adapter = requests.Session.get_adapter
_connect = socket.socket.connect
_closed: dict[str, bool] = {}


def get_adapter(session: requests.Session, url: str | bytes) -> Any:
    """In place of requests.Session's own. A proxy would connect to anything, so the host is looked at, too."""
    text = url if isinstance(url, str) else url.decode(errors="replace")
    if not text.lower().startswith(SCHEMES):
        raise InvalidSchema(f"refused: a source may name http and https, and not '{text[:80]}'")
    host = urlsplit(text).hostname or ""
    address = address_of("127.0.0.1" if host.rstrip(".").endswith("localhost") else host)
    if address is not None and is_closed(str(address)):
        raise NoConnection(refusal_of(host))
    return _get_adapter(session, url=text)


def connect(connection: socket.socket, address: Any) -> None:
    """In place of socket.socket's own; raises PermissionError for an address that is closed."""
    if connection.family in (socket.AF_INET, socket.AF_INET6) and is_closed(str(address[0])):
        raise PermissionError(errno.EACCES, refusal_of(address[0]))
    _connect(connection, address)


def refusal_of(host: str) -> str:
    """Why it is refused, and what would help."""
    return f"{host} is closed to this recording: neither its URL nor '[network] allow' names it"


def is_closed(host: str) -> bool:
    """Whether nothing can be sent to an address of this host, its links or a multicast group; asked once for each."""
    if host not in _closed:
        address = address_of(host)
        _closed[host] = address is not None and is_guarded(address) and is_refused(address)
    return _closed[host]


def address_of(host: str) -> IPv4Address | IPv6Address | None:
    """The address that a text is, in any form that a C library takes; None for a name."""
    try:
        found = ip_address(socket.inet_aton(host))
    except (OSError, ValueError):
        try:
            found = ip_address(host)
        except ValueError:
            return None
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found


def is_guarded(address: IPv4Address | IPv6Address) -> bool:
    """Whether it may be closed; others never are."""
    return address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified


def is_refused(address: IPv4Address | IPv6Address) -> bool:
    """What the kernel says to a datagram."""
    family = socket.AF_INET6 if isinstance(address, IPv6Address) else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as out:
            out.sendto(b"", (str(address), DISCARD))
    except PermissionError:
        return True
    except OSError:
        return False  # no such link, say: a connection learns it as fast
    return False


requests.Session.get_adapter = get_adapter  # type: ignore[method-assign, assignment]
socket.socket.connect = connect  # type: ignore[method-assign, assignment]
