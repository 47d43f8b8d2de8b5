# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings in force, for everyone who is to go by a reload; and what is wrong in the files."""

from __future__ import annotations

from collections.abc import Sequence

from streamvaultd.config.settings import Settings
from streamvaultd.errors import VaultError


class LiveSettings:
    """`now` is what applies; a reload replaces it, so it is not to be kept."""

    def __init__(self, settings: Settings) -> None:
        self.now = settings
        self.wrong: Sequence[VaultError] = ()
        """Mistakes in the settings' files, until they are read again."""
        self.wrong_streamers: Sequence[VaultError] = ()
        """Those in the streamers' files."""

    def apply(self, settings: Settings) -> None:
        """These hold from now on."""
        self.now = settings

    def note_mistakes(self, mistakes: Sequence[VaultError]) -> None:
        """Mistakes in the settings' files."""
        self.wrong = mistakes

    @property
    def mistakes(self) -> Sequence[VaultError]:
        """All of them."""
        return (*self.wrong, *self.wrong_streamers)
