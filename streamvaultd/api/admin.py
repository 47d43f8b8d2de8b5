# SPDX-License-Identifier: GPL-3.0-or-later
"""io.streamvault.Recorder: GetSettings, Reload and Verify."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from streamvaultd.api.views import View, optional
from streamvaultd.base.child import ask
from streamvaultd.config.live_settings import LiveSettings
from streamvaultd.config.settings import in_force
from streamvaultd.core.model import Recorder
from streamvaultd.errors import NothingToVerify, VaultError, VerifyFailed
from streamvaultd.varlink.server import Call, Handler

VERIFY_LIMIT: Final = 6 * 3600.0
"""A file is given up that has not been read in this time (s)."""

VERIFIER: Final = (sys.executable, "-I", "-m", "streamvaultd.jobs.inspection")

AT_ONCE: Final = 2
"""Files that are looked at; further calls wait."""


class _Problem(msgspec.Struct):
    offset: int
    kind: str
    text: str
    at_ms: int | None = None


class _Verdict(msgspec.Struct):
    path: str = ""
    verdict: str = "unknown"
    format: str = ""
    bytes: int = 0
    duration_ms: int | None = None
    packets: int | None = None
    count: int = 0
    problems: tuple[_Problem, ...] = ()
    error: str | None = None


class AdminStore(Protocol):
    """Raises StoreUnavailable and RecordingUnreadable; NoSuchRecording where there is none."""

    async def find(self, name_or_id: str) -> Recorder: ...


class Reloads(Protocol):
    """Reads the settings again."""

    async def reload(self) -> tuple[bool, Sequence[VaultError]]:
        """Whether they apply, and all mistakes; with mistakes they stay as they are."""


class AdminApi:
    """Handlers of these methods; `verifier` is the program that looks at the file whose path is on its stdin."""

    def __init__(
        self,
        *,
        store: AdminStore,
        settings: LiveSettings,
        reloads: Reloads,
        verifier: Sequence[str],
    ) -> None:
        self._store = store
        self._settings = settings
        self._reloads = reloads
        self._verifier = verifier
        self._places = asyncio.Semaphore(AT_ONCE)

    def handlers(self) -> dict[str, Handler]:
        """Method name -> handler."""
        return {"GetSettings": self.get_settings, "Reload": self.reload, "Verify": self.verify}

    async def get_settings(self, call: Call) -> View:
        settings = self._settings.now
        return {
            "settings": [
                {
                    "section": option.section,
                    "key": option.key,
                    "value": value,
                    "default": option.default_text,
                    "about": option.about,
                }
                for option, value in in_force(settings)
            ]
        }

    async def reload(self, call: Call) -> View:
        applied, mistakes = await asyncio.shield(self._reloads.reload())
        return {"applied": applied, "mistakes": [mistake_view(mistake) for mistake in mistakes]}

    async def verify(self, call: Call) -> View:
        recorder = await self._store.find(call.parameters["recording"])
        if recorder.path is None:
            why = recorder.detail or f"it is {recorder.state.value}"
            raise NothingToVerify(recording=recorder.recording.id, why=why)
        async with self._places:
            return _verdict_view(await self._look(Path(recorder.path)))

    async def _look(self, path: Path) -> _Verdict:
        try:
            answer = await ask(self._verifier, time_limit=VERIFY_LIMIT, question=str(path).encode())
        except TimeoutError as error:
            raise VerifyFailed(path=str(path), why=f"it took longer than {VERIFY_LIMIT / 3600:g} h") from error
        except OSError as error:
            raise VerifyFailed(path=str(path), why=error.strerror or str(error)) from error
        try:
            found = msgspec.json.decode(answer.output, type=_Verdict)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise VerifyFailed(path=str(path), why=f"the program that looks at it gave {answer.status}") from error
        if found.error is not None:
            raise VerifyFailed(path=str(path), why=found.error)
        return found


def _verdict_view(found: _Verdict) -> View:
    return {
        "path": found.path,
        "verdict": found.verdict,
        "format": found.format,
        "bytes": found.bytes,
        "problemCount": found.count,
        "problems": [_problem_view(problem) for problem in found.problems],
    } | optional(durationUSec=_usec(found.duration_ms), packets=found.packets)


def _problem_view(problem: _Problem) -> View:
    told: dict[str, Any] = {"offset": problem.offset, "kind": problem.kind, "text": problem.text}
    return told | optional(atUSec=_usec(problem.at_ms))


def _usec(ms: int | None) -> int | None:
    return None if ms is None else ms * 1000


def mistake_view(mistake: VaultError) -> View:
    told = {name: str(mistake.fields[name]) for name in ("section", "key", "value") if name in mistake.fields}
    return {"file": str(mistake.fields["file"]), "why": str(mistake.fields["why"])} | told
