# SPDX-License-Identifier: GPL-3.0-or-later
"""A pager for long output, chosen and set up as systemctl(1) does: $SYSTEMD_PAGER, $PAGER, less, more."""

from __future__ import annotations

import shlex
import signal
import subprocess
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_LESS: Final = "FRSXMK"


def page(text: str, environ: Mapping[str, str]) -> bool:
    """Show text in a pager and return when it is closed; False if none could be started."""
    for command in _candidates(environ):
        if command in ([], ["cat"]):
            return False
        try:
            pager = subprocess.Popen(command, stdin=subprocess.PIPE, env=_environment(environ))
        except (FileNotFoundError, PermissionError):
            continue
        _feed(pager, text)
        return True
    return False


def _candidates(environ: Mapping[str, str]) -> Iterator[list[str]]:
    for variable in ("SYSTEMD_PAGER", "PAGER"):
        if variable in environ:
            yield _split(environ[variable])
            break
    yield from (["less"], ["more"])


def _split(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:
        return [command]


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    # secure mode: a pager that root uses to read a stream's title is no shell
    less = environ.get("SYSTEMD_LESS", _LESS)
    charset = environ.get("SYSTEMD_LESSCHARSET", "utf-8")
    return {**environ, "LESS": less, "LESSCHARSET": charset, "LESSSECURE": "1"}


def _feed(pager: subprocess.Popen[bytes], text: str) -> None:
    # Ctrl-C is the pager's while it is open
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        pager.communicate(text.encode(errors="backslashreplace"))
    finally:
        signal.signal(signal.SIGINT, previous)
