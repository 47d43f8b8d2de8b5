# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the daemon speaks to: the catalogue's URL, the metrics' address and file, the chat's server and channel."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

from streamvaultd.config.kinds import SettingKind, Unfit, text
from streamvaultd.config.kinds import path as read_path

SOCKET_PATH_MAX: Final = 107
PORT_MAX: Final = 65535


def check_catalogue(value: Any) -> str:
    """The URL of a PostgreSQL database, without a password, or ""; else ValueError with the reason."""
    if value == "":
        return ""
    try:
        url = urlsplit(text(value))
        is_known, has_password = url.scheme in ("postgresql", "postgres"), url.password is not None
        has_port = url.port is not None or not url.netloc.endswith(":")
    except ValueError as error:
        raise Unfit(str(error)) from None
    if not (is_known and has_port and value[len(url.scheme) :].startswith("://") and url.path.strip("/")):
        raise Unfit("it must be a URL such as postgresql://USER@HOST/DATABASE")
    if has_password or "password" in url.query:
        raise Unfit("it must not hold the password: others can read it here. Use a pgpass credential")
    return "postgresql" + str(value)[len(url.scheme) :]


def _listen(value: Any) -> str:
    """An address that nobody else's machine can reach: a Unix socket, or a port on loopback."""
    if value == "":
        return ""
    address = text(value)
    if address.startswith("unix:"):
        path = read_path(address.removeprefix("unix:"))
        if len(str(path).encode()) > SOCKET_PATH_MAX:
            raise Unfit(f"a socket's path has at most {SOCKET_PATH_MAX} bytes (unix(7))")
        return address
    host, _, port = address.rpartition(":")
    try:
        is_loopback = ip_address(host.strip("[]")).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback or not _is_port(port):
        raise Unfit('it must be "unix:/PATH", or a port of a loopback address such as 127.0.0.1:9464 or [::1]:9464')
    return address


def _textfile(value: Any) -> str:
    if value == "":
        return ""
    path = read_path(value)
    if path.suffix != ".prom":
        raise Unfit("the node exporter reads files whose names end in .prom")
    return str(path)


def _chat_server(value: Any) -> str:
    host, _, port = text(value).rpartition(":")
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?", host, re.ASCII) or not _is_port(port):
        raise Unfit("it must be a host and a port, such as irc.chat.twitch.tv:6697")
    return f"{host}:{port}"


def _is_port(text: str) -> bool:
    return bool(re.fullmatch(r"[1-9]\d{0,4}", text, re.ASCII)) and int(text) <= PORT_MAX


def _chat_authority(value: Any) -> str:
    return "" if value == "" else str(read_path(value))


def _chat_channel(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9_]{1,25}", value, re.ASCII):
        raise Unfit("it must be the name of a channel: letters, digits and _, 25 at most")
    return value.lower()


CATALOGUE: Final = SettingKind(check_catalogue, "URL of a PostgreSQL database without a password, or empty")
LISTEN: Final = SettingKind(_listen, "unix:PATH, a loopback address and port, or empty")
TEXTFILE: Final = SettingKind(_textfile, "absolute path that ends in .prom, or empty")
CHAT_SERVER: Final = SettingKind(_chat_server, "HOST:PORT")
CHAT_AUTHORITY: Final = SettingKind(_chat_authority, "absolute path, or empty")
CHAT_CHANNEL: Final = SettingKind(_chat_channel, "name of a channel")
