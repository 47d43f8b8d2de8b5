# SPDX-License-Identifier: GPL-3.0-or-later
"""Proxies as settings have them: URLs, and the names of pools in streamvaultd.toml, which stand for several."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from streamvaultd.config.inputs import is_name
from streamvaultd.config.kinds import SettingKind, Unfit, listed, texts
from streamvaultd.core.watching.proxies import CREDENTIAL, DIRECT, Pool

SECTION: Final = "proxies"
PROXIES_MAX: Final = 20


def names(value: Any) -> tuple[str, ...]:
    """Names of credentials."""
    found = texts(value)
    if found is None or not all(is_name(name) for name in found):
        raise Unfit("it must be a list of names of credentials, without 'streamvault.'")
    return tuple(found)


def urls(value: Any) -> tuple[str, ...]:
    """URLs of proxies, best first."""
    return _proxies(value, _is_url, "'direct', a URL such as http://HOST:PORT or socks5://HOST:PORT")


def choice(value: Any) -> tuple[str, ...]:
    """URLs of proxies and names of pools, best first."""
    wanted = "'direct', a URL such as http://HOST:PORT or socks5://HOST:PORT, the name of a pool"
    return _proxies(value, lambda item: _is_url(item) or is_name(item), wanted)


def _proxies(value: Any, fits: Callable[[str], bool], wanted: str) -> tuple[str, ...]:
    found = texts(value)
    if found is None or not 0 < len(found) <= PROXIES_MAX or not all(fits(item) for item in found):
        raise Unfit(f"it must be {wanted}, or a list of them")
    if any("@" in item for item in found):
        raise Unfit("it must not hold a password: others may read this file. Put 'http-proxy=…' into a credential")
    return tuple(dict.fromkeys(found))


def _is_url(item: str) -> bool:
    return item == DIRECT or bool(re.fullmatch(r"(?:https?|socks[45][ah]?)://[^\s/]+:\d{1,5}/?", item))


NAMES: Final = SettingKind(names, "list of names of credentials", listed)
URLS: Final = SettingKind(urls, "URL, or list of URLs", listed)
CHOICE: Final = SettingKind(choice, "URL or name, or list of them", listed)


def check_pool(name: str) -> str:
    """The name of a pool, if it is one; else Unfit."""
    if not is_name(name) or name == DIRECT:
        raise Unfit("this is no name for a pool: letters, digits, '.', '_' and '-', 64 at most, and not 'direct'")
    return name


def expand(proxies: tuple[str, ...], pools: Mapping[str, Pool]) -> tuple[str, ...]:
    """The proxies with those of pools in the place of their names; raises Unfit for a pool that is not there."""
    found: list[str] = []
    for proxy in proxies:
        if _is_url(proxy):
            found.append(proxy)
        elif proxy in pools:
            found += [*pools[proxy].urls, *(CREDENTIAL + name for name in pools[proxy].secrets)]
        else:
            there = ", ".join(sorted(pools)) or "none"
            raise Unfit(
                f"there is no pool '{proxy}', a section [{SECTION}.{proxy}] of streamvaultd.toml; there is {there}"
            )
    if proxies and not found:
        raise Unfit("there are no proxies in its pools, nor in those of their credentials that are there")
    return tuple(dict.fromkeys(found))
