# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets for streamlink: credentials of the service (systemd.exec(5)), which only it can read.

A credential "streamvault.NAME" holds one long option of streamlink a line, `option=value`; a streamer's file names it.
Nothing of it is ever shown, not even in a mistake.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from streamvaultd.config.kinds import Unfit
from streamvaultd.config.streamlink_options import option
from streamvaultd.errors import ConfigInvalid, ConfigUnreadable, VaultError

PREFIX: Final = "streamvault."
SIZE_MAX: Final = 64 << 10

Options = tuple[tuple[str, str], ...]


def load(directory: Path | None) -> tuple[Mapping[str, Options], tuple[VaultError, ...]]:
    """The options of each credential by its name without the prefix, and what is wrong with others. Blocking."""
    found: dict[str, Options] = {}
    mistakes: list[VaultError] = []
    for file in sorted(directory.glob(f"{PREFIX}*")) if directory is not None else ():
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            mistakes.append(ConfigUnreadable(file=file.name, why=str(why)))
            continue
        options, wrong = parse(text[:SIZE_MAX], file.name)
        mistakes += wrong
        if not wrong:
            found[file.name.removeprefix(PREFIX)] = options
    return found, tuple(mistakes)


HELIX: Final = "streamvaultd.helix"
_HELIX_KEYS: Final = {
    "client_id": "client", "client_secret": "secret", "user_token": "token", "refresh_token": "refresh",
    "api": "api", "auth": "auth", "events": "events",
}  # fmt: skip


def load_helix(directory: Path | None) -> tuple[Mapping[str, str], tuple[VaultError, ...]]:
    """What Twitch knows us by, as Keys of watching/twitch.py has it; nothing if there is no such credential."""
    file = directory / HELIX if directory is not None else None
    if file is None or not file.exists():
        return {}, ()
    try:
        lines = [line.strip().partition("=") for line in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError):
        return {}, (ConfigUnreadable(file=HELIX, why="it cannot be read"),)
    found = {key.strip(): value.strip() for key, _, value in lines if key and not key.startswith("#")}
    is_whole = {"client_id", "client_secret"} <= set(found) <= set(_HELIX_KEYS) and all(found.values())
    if is_whole and ("refresh_token" not in found or "user_token" in found):
        return {_HELIX_KEYS[key]: value for key, value in found.items()}, ()
    why = "it must have the lines client_id=… and client_secret=…, and may have user_token=… and refresh_token=…"
    return {}, (ConfigInvalid(file=HELIX, section="", key="***", value="***", why=why),)


def parse(text: str, name: str) -> tuple[Options, list[VaultError]]:
    """The options in a credential's text."""
    found: list[tuple[str, str]] = []
    mistakes: list[VaultError] = []
    for number, line in enumerate(text.splitlines(), 1):
        key, equals, value = line.strip().partition("=")
        if not key or key.startswith("#"):
            continue
        try:
            found.append(option(key.strip(), value.strip() if equals else True))
        except Unfit:
            why = "it must be option=value, with an option of streamlink that the daemon does not set itself"
            mistakes.append(ConfigInvalid(file=name, section=f"line {number}", key="***", value="***", why=why))
    return tuple(found), mistakes
