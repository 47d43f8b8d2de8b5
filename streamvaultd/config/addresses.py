# SPDX-License-Identifier: GPL-3.0-or-later
"""Where what the daemon knows may go besides its store: the catalogue's URL, the metrics' address and file."""

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
    if not is_loopback or not re.fullmatch(r"[1-9]\d{0,4}", port, re.ASCII) or int(port) > PORT_MAX:
        raise Unfit('it must be "unix:/PATH", or a port of a loopback address such as 127.0.0.1:9464 or [::1]:9464')
    return address


def _textfile(value: Any) -> str:
    if value == "":
        return ""
    path = read_path(value)
    if path.suffix != ".prom":
        raise Unfit("the node exporter reads files whose names end in .prom")
    return str(path)


CATALOGUE: Final = SettingKind(check_catalogue, "URL of a PostgreSQL database without a password, or empty")
LISTEN: Final = SettingKind(_listen, "unix:PATH, a loopback address and port, or empty")
TEXTFILE: Final = SettingKind(_textfile, "absolute path that ends in .prom, or empty")
