# SPDX-License-Identifier: GPL-3.0-or-later
"""rclone's configuration, a credential of the service: its name, size and settings; rclone(1), "Config file"."""

from __future__ import annotations

from configparser import Error as BadIni
from configparser import RawConfigParser
from typing import Final

CREDENTIAL: Final = "rclone.conf"
CONFIG_MAX: Final = 1 << 20
"""Bytes."""


def settings_in(config: str) -> tuple[tuple[str, str], ...] | None:
    """Key and value of all that is set for all remotes; None of one that cannot be read, or is encrypted."""
    parser = RawConfigParser(strict=False)
    try:
        parser.read_string(config)
    except BadIni:
        return None
    return tuple(setting for name in parser.sections() for setting in parser.items(name))
