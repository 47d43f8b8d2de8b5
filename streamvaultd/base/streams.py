# SPDX-License-Identifier: GPL-3.0-or-later
"""Connections to the sockets of other services of ours."""

from __future__ import annotations

import asyncio
from pathlib import Path


async def open_stream(path: Path, *, limit: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to a socket; lines of it have `limit` bytes at most. Raises OSError."""
    return await asyncio.open_unix_connection(path, limit=limit)
