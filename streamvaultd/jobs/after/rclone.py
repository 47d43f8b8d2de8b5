# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls of rclone, as few of its commands as do: what a remote has of a name, its SHA-256, and sending a file there.

Its configuration is a file that this program alone can read; nothing of it is in argv, in the environment or in what
is told of a failure. Only `rclone` decides what a remote is; see rclone(1), "Exit code" and "Remote config".
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from streamvaultd.base.redaction import redact_url
from streamvaultd.jobs.after.rclone_config import settings_in

PROGRAM: Final = "rclone"
NOT_THERE: Final = frozenset({3, 4})
"""Exit codes of rclone: a directory, or a file, was not found."""

SAID_MAX: Final = 200
HEAD: Final = 60
OUTPUT_MAX: Final = 1 << 20
SECRET_MIN: Final = 6
"""Shorter values of the configuration are words such as "true"."""

OPTIONS: Final = (
    "--use-json-log", "--stats", "1s", "--stats-log-level", "NOTICE", "--log-level", "NOTICE", "--ask-password=false",
    "--contimeout", "30s", "--timeout", "5m", "--retries", "1", "--low-level-retries", "3", "--transfers", "1",
    "--checkers", "1", "--multi-thread-streams", "0", "--no-update-modtime",
)  # fmt: skip
"""Of every call. It is the step that tries again; a call ends when a remote is silent for five minutes."""

_PREFIX: Final = re.compile(r"^(?:\d{4}/\d\d/\d\d \d\d:\d\d:\d\d )?(?:(?:ERROR|NOTICE|Fatal error)\s*: )?")


class RcloneFailed(Exception):
    """A call failed; its text is rclone's reason, shortened and without secrets."""


class Rclone:
    """Calls with one configuration; `folder` is for what a call prints."""

    def __init__(self, config: Path, folder: Path, *, bandwidth: int | None = None, memory: int | None = None) -> None:
        self._config = config
        self._said = folder / "said"
        self._secrets = secrets_in(config.read_text(encoding="utf-8", errors="replace"))
        self._environment = dict(os.environ) | {"RCLONE_CONFIG": str(config), "RCLONE_CACHE_DIR": str(folder)}
        if bandwidth is not None:
            self._environment["RCLONE_BWLIMIT"] = f"{bandwidth}B"
        if memory is not None:
            self._environment["GOMEMLIMIT"] = str(memory * 3 // 4)  # of its heap; the scope has a limit for all
        self._sha256: dict[str, bool] = {}

    def size(self, place: str) -> int | None:
        """Bytes of the file that a remote has there, None if it has none."""
        status, text, why = self._call(["lsjson", "--stat", "--no-mimetype", "--no-modtime", "--", place])
        if status in NOT_THERE:
            return None
        self._require(status, why)
        try:
            found = json.loads(text)
            if found["IsDir"]:
                raise RcloneFailed("there is a folder of that name")
            return int(found["Size"])
        except (ValueError, KeyError, TypeError):
            raise RcloneFailed("rclone does not say what is there") from None

    def sha256(self, remote: str, place: str) -> str:
        """The SHA-256 of a file: the remote's word if it has it, else that of the bytes that it gives back."""
        download = () if self._knows_sha256(remote) else ("--download",)
        status, text, why = self._call(["hashsum", "sha256", *download, "--", place])
        self._require(status, why)
        found = re.match(r"\\?([0-9a-f]{64})(?![0-9a-f])", text)
        if found is None:
            raise RcloneFailed("rclone gives no sha256 of what is there")
        return found[1]

    def send(self, source: Path, place: str, on_bytes: Callable[[int], None]) -> None:
        """Put a file there, in the place of what is there of that name."""
        argv = ["copyto", "--copy-links", "--ignore-times", "--", str(source), place]
        status, _, why = self._call(argv, on_bytes)
        self._require(status, why)

    def _knows_sha256(self, remote: str) -> bool:
        if remote not in self._sha256:
            status, text, why = self._call(["backend", "features", "--", remote])
            self._require(status, why)
            try:
                self._sha256[remote] = "sha256" in json.loads(text)["Hashes"]
            except (ValueError, KeyError, TypeError):
                self._sha256[remote] = False
        return self._sha256[remote]

    def _require(self, status: int, why: str) -> None:
        if status:
            raise RcloneFailed(why or f"rclone ended with status {status}, and said nothing")

    def _call(self, words: Sequence[str], on_bytes: Callable[[int], None] | None = None) -> tuple[int, str, str]:
        """Its exit status, what it printed, and the last reason that it gave."""
        why = ""
        with self._said.open("w+b") as said:
            try:
                process = subprocess.Popen(
                    [PROGRAM, words[0], *OPTIONS, *words[1:]],
                    stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.PIPE, env=self._environment,
                )  # fmt: skip
            except FileNotFoundError:
                raise RcloneFailed("rclone is not installed") from None
            assert process.stderr is not None  # noqa: S101 - what Popen makes of PIPE
            with process.stderr as lines:
                for line in iter(lambda: lines.readline(OUTPUT_MAX), b""):
                    told = parse_line(line)
                    if on_bytes is not None and told.bytes is not None:
                        on_bytes(told.bytes)
                    why = told.why or why
            status = process.wait()
            said.seek(0)
            text = said.read(OUTPUT_MAX).decode("utf-8", "replace")
        return status, text, self._shown(why)

    def _shown(self, why: str) -> str:
        """A reason as people read it: one line, short, nothing of the configuration in it."""
        for secret in self._secrets:
            why = why.replace(secret, "***")
        text = " ".join(redact_url(why).split())
        return text if len(text) <= SAID_MAX else f"{text[:HEAD]} … {text[-(SAID_MAX - HEAD) :]}"  # its end says why


class LogLine:
    """A line of rclone's log: how many bytes are transferred, or what went wrong."""

    __slots__ = ("bytes", "why")

    def __init__(self, transferred: int | None = None, why: str = "") -> None:
        self.bytes = transferred
        self.why = why


def parse_line(line: bytes) -> LogLine:
    """What a line says; nothing if it says nothing of interest."""
    text = line.decode("utf-8", "replace").strip()
    try:
        told: Any = json.loads(text)
    except (ValueError, RecursionError):  # the last one is none of its log
        return LogLine(why=_PREFIX.sub("", text))
    if not isinstance(told, dict):
        return LogLine()
    stats = told.get("stats")
    count = stats.get("bytes") if isinstance(stats, dict) else None
    if isinstance(count, int):
        return LogLine(transferred=max(0, count))
    is_wrong = told.get("level") in ("error", "critical", "fatal")
    return LogLine(why=str(told.get("msg", "")).strip()) if is_wrong else LogLine()


def secrets_in(config: str) -> tuple[str, ...]:
    """The values of a configuration, longest first; the kind of a remote is none."""
    settings = settings_in(config)
    if settings is None:
        return tuple(sorted({line.strip() for line in config.splitlines() if line.strip()}, key=len, reverse=True))
    values = {value for key, value in settings if key not in _PLAIN}
    return tuple(sorted((value for value in values if len(value) >= SECRET_MIN), key=len, reverse=True))


_PLAIN: Final = frozenset({"type", "vendor", "provider", "remote", "url", "host", "endpoint", "region", "scope"})
"""Keys whose values a reason may name; a URL loses its password all the same."""
