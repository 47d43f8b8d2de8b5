# SPDX-License-Identifier: GPL-3.0-or-later
"""The process that packs a chat: what several runs have captured, one after the other, into one gzip file.

Standard input is one JSON object with "parts": descriptors, oldest first. Standard output is an empty file that can be
read, too. It exits with 0 only when what is there, read again, is all of it, and is on the disk; nothing is written if
there is nothing. A part's last line may be torn: it gets an end.
"""

from __future__ import annotations

import json
import os
import sys
import zlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

CHUNK: Final = 1 << 18
LEVEL: Final = 6
GZIP: Final = 31
"""wbits of a gzip file, zlib(3)."""

OUTPUT: Final = 1


def content(parts: list[int]) -> Iterator[bytes]:
    """All of it, in pieces."""
    for part in parts:
        last = b""
        while data := os.read(part, CHUNK):
            yield data
            last = data[-1:]
        if last not in (b"", b"\n"):
            yield b"\n"


def write(data: bytes) -> None:
    """All of it; raises OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(OUTPUT, view) :]


def pack(parts: list[int]) -> tuple[int, int]:
    """(checksum, bytes) of what went in."""
    packer, checksum, size = zlib.compressobj(LEVEL, zlib.DEFLATED, GZIP), 0, 0
    for data in content(parts):
        write(packer.compress(data))
        checksum, size = zlib.crc32(data, checksum), size + len(data)
    if size:
        write(packer.flush())
    return checksum, size


def unpack() -> tuple[int, int]:
    """(checksum, bytes) of what comes out again; raises zlib.error."""
    unpacker, checksum, size, at = zlib.decompressobj(GZIP), 0, 0, 0
    while packed := os.pread(OUTPUT, CHUNK, at):
        at += len(packed)
        while packed:
            data = unpacker.decompress(packed, CHUNK)
            checksum, size = zlib.crc32(data, checksum), size + len(data)
            packed = unpacker.unconsumed_tail
    data = unpacker.flush()
    return (zlib.crc32(data, checksum), size + len(data)) if unpacker.eof or not at else (0, -1)


def main() -> None:
    """See the head of this file."""
    spec = json.loads(sys.stdin.buffer.read())
    went_in = pack(spec["parts"])
    os.fsync(OUTPUT)
    if unpack() != went_in:
        sys.exit("error: what was packed is not what was captured")


if __name__ == "__main__":
    main()
