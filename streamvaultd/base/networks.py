# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses that nothing in a scope may reach unless it was named: loopback, link-local and multicast. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final
from urllib.parse import urlsplit

Network = IPv4Network | IPv6Network

GUARDED: Final[tuple[Network, ...]] = tuple(
    ip_network(text)
    for text in (
        "127.0.0.0/8",
        "::1/128",
        "169.254.0.0/16",
        "fe80::/10",
        "224.0.0.0/4",
        "ff00::/8",
        "0.0.0.0/8",
        "::/128",
    )
)
"""The last two are other names of the host itself (RFC 1122, RFC 4291)."""

EVERYTHING: Final[tuple[Network, ...]] = (ip_network("0.0.0.0/0"), ip_network("::/0"))

LOCALHOST: Final = ("127.0.0.1/32", "::1/128")

_SCHEMES: Final = re.compile(r"\A(?:[a-z][a-z0-9+.-]*://)*", re.ASCII | re.IGNORECASE)


def parse_network(text: str) -> Network:
    """A network, or a single address; raises ValueError. Bits behind its prefix are a mistake."""
    return ip_network(text)


def is_guarded(network: Network) -> bool:
    """Whether some of its addresses have to be named to be reached."""
    return any(network.version == each.version and network.overlaps(each) for each in GUARDED)


def named_by(url: str) -> tuple[str, ...]:
    """The guarded addresses that the host of a URL names: as an address, or as localhost. No name is looked up.

    Streamlink's own prefixes, as in hls://http://…, go before the URL; what is behind the host names nothing.
    """
    try:
        host = urlsplit("//" + _SCHEMES.sub("", url.strip(), count=1)).hostname or ""
    except ValueError:
        return ()
    host = host.rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return LOCALHOST
    try:
        network = parse_network(str(ip_address(host)))
    except ValueError:
        return ()
    return (str(network),) if is_guarded(network) else ()


def resolvers_in(resolv_conf: str) -> tuple[str, ...]:
    """The guarded addresses among the name servers of resolv.conf(5)."""
    found: list[str] = []
    for server in re.findall(r"^nameserver[ \t]+(\S+)", resolv_conf, re.MULTILINE):
        try:
            network = parse_network(server.partition("%")[0])
        except ValueError:
            continue
        if is_guarded(network):
            found.append(str(network))
    return tuple(found)


def reachable(urls: Iterable[str], allowed: Iterable[str], resolv_conf: str) -> tuple[str, ...]:
    """What a segment may reach of what is guarded: for its URL and proxies, by the settings, and to look up names."""
    named = [network for url in urls for network in named_by(url)]
    return tuple(dict.fromkeys([*named, *allowed, *resolvers_in(resolv_conf)]))
