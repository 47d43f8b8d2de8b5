# SPDX-License-Identifier: GPL-3.0-or-later
"""Which proxy is used: the first of a streamer's that is well, by what came of those that were used. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from streamvaultd.core.model import Instant

DIRECT = "direct"
"""In a list of proxies: none."""

CREDENTIAL = "credential:"
"""In a list of proxies: before the name of a credential, whose proxies stand there."""

REST_MIN = 15.0
REST_MAX = 600.0
"""How long (s) a proxy is left alone after one failure, and after many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Proxies that have a name: URLs, and credentials with others."""

    urls: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Health:
    """Of a proxy: failures in a row, and until when it is left alone for them."""

    failures: int = 0
    until: Instant = 0.0


def choose(pool: Sequence[str], health: Mapping[str, Health], at: Instant, tried: Sequence[str] = ()) -> str | None:
    """The first that is well and was not tried just now; if none is well the one that rests the shortest.

    None if all were tried, or there are none.
    """
    left = [proxy for proxy in pool if proxy not in tried]
    well = [proxy for proxy in left if health.get(proxy, Health()).until <= at]
    if well:
        return well[0]
    return min(left, key=lambda proxy: health.get(proxy, Health()).until, default=None)


def learn(health: Mapping[str, Health], proxy: str, at: Instant, *, worked: bool) -> dict[str, Health]:
    """The health after a proxy was used. One that is well has no entry."""
    others = {known: found for known, found in health.items() if known != proxy}
    if worked:
        return others
    failures = health.get(proxy, Health()).failures + 1
    rest = min(REST_MIN * 2.0 ** min(failures - 1, 16), REST_MAX)
    return {**others, proxy: Health(failures, at + rest)}
