# SPDX-License-Identifier: GPL-3.0-or-later
"""Bytes at offsets: what the joining code reads from, and how it searches and compares in bounded memory.

Everything is read with pread in windows: a mapped file that another process truncates would kill the reader (SIGBUS),
and mapped pages of a 100 GB recording would count as its memory.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

# Bytes held at a time; a search window and a comparison hold two of them
WINDOW = 4 << 20
# A comparison begins with this much and doubles: most end soon or go on for long
WINDOW_FIRST = 64 << 10


class Source(Protocol):
    """Random access to bytes that do not change below `size`."""

    @property
    def size(self) -> int: ...

    def read(self, offset: int, length: int) -> bytes:
        """`length` bytes from `offset`, fewer only at the end."""


@dataclass(frozen=True, slots=True)
class FileSource:
    """The first `size` bytes of an open file; the caller owns the descriptor. May raise OSError when read."""

    fd: int
    size: int

    @classmethod
    @contextmanager
    def opened(cls, path: Path | int) -> Iterator[FileSource]:
        """A regular file, for the length of the block; OSError for anything else, which a link is, too.

        A descriptor is closed in the end.
        """
        fd = (
            path
            if isinstance(path, int)
            else os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        )
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise OSError(errno.EUCLEAN, "it is no regular file", str(path))
            yield cls.of(fd)
        finally:
            os.close(fd)

    @classmethod
    def of(cls, fd: int) -> FileSource:
        """The file as long as it is now, though it may be growing."""
        return cls(fd, os.fstat(fd).st_size)

    def read(self, offset: int, length: int) -> bytes:
        length = min(length, self.size - offset)
        data = os.pread(self.fd, length, offset) if length > 0 else b""
        while 0 < len(data) < length:
            more = os.pread(self.fd, length - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data


@dataclass(frozen=True, slots=True)
class Clipped:
    """The first `size` bytes of another source."""

    source: Source
    size: int

    def read(self, offset: int, length: int) -> bytes:
        return self.source.read(offset, max(0, min(length, self.size - offset)))


def find_back(source: Source, needle: bytes, low: int, high: int) -> Iterator[int]:
    """Offsets of `needle` that lie whole within [low, high), the last one first."""
    end = high
    while needle and end - low >= len(needle):
        start = max(low, end - WINDOW - len(needle))
        window = source.read(start, end - start)
        # a search from the front skips ahead and takes a twentieth of the time; where there is something is rare
        hit = window.rfind(needle) if needle in window else -1
        while hit >= 0:
            yield start + hit
            hit = window.rfind(needle, 0, hit + len(needle) - 1)
        # a needle across the border begins before `start`, so it ends before start + its length - 1
        end = start + len(needle) - 1 if start > low else low


def is_equal(one: Source, one_at: int, other: Source, other_at: int, length: int) -> bool:
    return common_forward(one, one_at, other, other_at, length) == length


def _common(mine: bytes, yours: bytes) -> int:
    """Length of the common start, by halving: a byte-wise loop over a window would take half a second."""
    low, high = 0, min(len(mine), len(yours))
    while low < high:
        middle = (low + high + 1) // 2
        if mine[low:middle] == yours[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def common_forward(one: Source, one_at: int, other: Source, other_at: int, limit: int) -> int:
    """How many bytes from both offsets on are equal, at most `limit`."""
    done, window = 0, WINDOW_FIRST
    while done < limit:
        size = min(window, limit - done)
        mine, yours = one.read(one_at + done, size), other.read(other_at + done, size)
        if mine != yours or len(mine) < size:
            return done + _common(mine, yours)
        done, window = done + size, min(2 * window, WINDOW)
    return done


def longest_at(one: Source, one_at: int, other: Source, places: Iterable[int], limit: int) -> int | None:
    """Of these places in another source, the one from which most is equal; the first that has all of it."""
    found, most = None, 0
    for place in places:
        common = common_forward(one, one_at, other, place, limit)
        found, most = (place, common) if common > most else (found, most)
        if most == limit:
            break
    return found


def common_backward(one: Source, one_at: int, other: Source, other_at: int, limit: int) -> int:
    """How many bytes just before both offsets are equal, at most `limit`."""
    done, window = 0, WINDOW_FIRST
    while done < limit:
        size = min(window, limit - done)
        mine = one.read(one_at - done - size, size)[::-1]
        yours = other.read(other_at - done - size, size)[::-1]
        if mine != yours or len(mine) < size:
            return done + _common(mine, yours)
        done, window = done + size, min(2 * window, WINDOW)
    return done
