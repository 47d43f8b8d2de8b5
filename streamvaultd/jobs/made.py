# SPDX-License-Identifier: GPL-3.0-or-later
"""What a join made, as the row of its job has it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class ResultPart(msgspec.Struct, kw_only=True):
    """A file of a result; one that is kept has what of a segment is not in the others."""

    path: str
    bytes: int
    duration_ms: int | None = None
    on_air: tuple[tuple[float, float, float], ...] = ()
    """Where in it, from when on (ms since 1970) and for how long (ms) what is there was broadcast."""
    is_kept: bool = False
    segment: int | None = None
    """Of a kept one: whose bytes it has."""
    sha256: str | None = None
    """Of a kept one."""


class Made(msgspec.Struct):
    """All files, and what there is to say of them."""

    parts: tuple[ResultPart, ...] = ()
    notes: tuple[str, ...] = ()


def parse_made(result: Mapping[str, object] | None) -> Made:
    """From a job's row; raises msgspec.ValidationError where another hand has written it."""
    return msgspec.convert(result or {}, Made)
