# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings in force, for everyone who is to go by a reload."""

from __future__ import annotations

from streamvaultd.config.settings import Settings


class LiveSettings:
    """`now` is what applies; a reload replaces it, so it is not to be kept."""

    def __init__(self, settings: Settings) -> None:
        self.now = settings
