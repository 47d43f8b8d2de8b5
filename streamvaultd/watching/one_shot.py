# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the probe, with limits on time and output: a plugin may hang, crash or print whatever it likes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from streamvaultd.base.child import ask
from streamvaultd.config.live import LiveSettings
from streamvaultd.core.recording.events import Outcome
from streamvaultd.errors import StreamlinkUnusable
from streamvaultd.recording.streamlink.current import Streamlinks
from streamvaultd.scopes.launcher import clean_environment
from streamvaultd.scopes.shim import redact

PROGRAM: Final = Path(__file__).with_name("probe") / "probe.py"
TIME_LIMIT: Final = 20.0

PROBES_MAX: Final = min(max(os.cpu_count() or 1, 2), 8)
"""Sources that are asked at a time: each question is a process of its own, and many recordings may lose one source."""


class ProbeResult(msgspec.Struct, frozen=True):
    """One answer. `detail` is for people; `metadata` has id, author, category and title as far as the site tells."""

    outcome: Outcome
    detail: str = ""
    plugin: str = ""
    metadata: Mapping[str, str] = {}
    streams: tuple[str, ...] = ()
    mark: str = ""


class Prober:
    """Asks sources through the streamlink whose interpreter it is given. Probes may run in parallel."""

    def __init__(
        self,
        *,
        python: str,
        environment: Mapping[str, str],
        options: Sequence[tuple[str, str]] = (),
        time_limit: float = TIME_LIMIT,
    ) -> None:
        self._python = python
        self._environment = environment
        self._options = options
        self._time_limit = time_limit

    async def probe(self, url: str, quality: str) -> ProbeResult:
        """What the source offers now; anything that goes wrong is TROUBLE."""
        return await self._ask(verb="probe", url=url, quality=quality)

    async def can_handle(self, url: str) -> bool:
        """Whether a plugin knows this URL; trouble does not count against it."""
        result = await self._ask(verb="resolve", url=url, quality="")
        return result.outcome is not Outcome.UNSUPPORTED

    async def _ask(self, **request: str) -> ProbeResult:
        question = msgspec.json.encode({**request, "options": self._options})
        argv = (self._python, "-I", str(PROGRAM))
        try:
            answer = await ask(argv, question=question, environment=self._environment, time_limit=self._time_limit)
        except TimeoutError:
            return _trouble(f"no answer within {self._time_limit:g} s")
        except OSError as error:
            return _trouble(f"cannot run {self._python}: {error.strerror}")
        return _parse(answer.output)


class OneShots:
    """Asks with the streamlink that is used now, one process a question."""

    def __init__(self, *, streamlinks: Streamlinks, settings: LiveSettings, home: Path) -> None:
        self._streamlinks = streamlinks
        self._settings = settings
        self._home = home
        self._probes = asyncio.Semaphore(PROBES_MAX)

    async def probe(self, url: str, quality: str) -> ProbeResult:
        """What the source offers now; trouble is an answer. Not more than PROBES_MAX at a time: others wait."""
        try:
            async with self._probes:
                return await (await self._prober()).probe(url, quality)
        except StreamlinkUnusable as error:
            return _trouble(str(error))

    async def can_handle(self, url: str) -> bool:
        """Whether a plugin knows this URL; raises StreamlinkUnusable."""
        async with self._probes:
            return await (await self._prober()).can_handle(url)

    async def _prober(self) -> Prober:
        installation = await self._streamlinks.usable()
        return Prober(
            python=installation.python,
            environment=clean_environment(self._home),
            options=self._settings.now.streamlink_options,
        )


def _parse(output: bytes) -> ProbeResult:
    try:
        result = msgspec.json.decode(output, type=ProbeResult)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _trouble("the probe of streamlink gave no answer")
    # Errors quote URLs.
    return msgspec.structs.replace(result, detail=" ".join(redact(word) for word in result.detail.split()))


def _trouble(detail: str) -> ProbeResult:
    return ProbeResult(outcome=Outcome.TROUBLE, detail=detail)
