# SPDX-License-Identifier: GPL-3.0-or-later
"""What streamlink starts instead of ffmpeg, to put pictures and sound that come apart into one file.

Theory of operation. streamlink cannot tell ffmpeg a format by what comes, nor ask for fragments: it passes one format
for everything. So this program looks at the first bytes in the pipes that streamlink feeds, and then becomes ffmpeg,
with the format that holds these streams. It takes nothing out of the pipes: tee(2) copies what is in them. A transport
stream is what our own joining knows best; what it does not hold (AV1, VP9, Opus) goes into fragmented MP4, whose
fragments keep the source's clock and end with each group of pictures, so that what is written can be read whenever
ffmpeg ends; what that does not hold goes into Matroska.

Standard library only: it runs in the scope of a recording, once for each segment.
"""

from __future__ import annotations

import ctypes
import os
import re
import select
import stat
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Final

PROGRAM: Final = "ffmpeg"
ASKED: Final = "mpegts"
"""The format that streamlink is given; any other is the administrator's choice."""

LOOK: Final = 1 << 16
"""Bytes at a pipe's start that are looked at; a pipe holds no more."""

WAIT_NOT: Final = 0x02
"""linux/splice.h: SPLICE_F_NONBLOCK"""

FRAGMENTED: Final = (
    "-movflags", "frag_keyframe+delay_moov+default_base_moof+frag_discont+skip_trailer",
    "-frag_duration", "2000000",
    "-strict", "experimental",
    "-f", "mp4",
)  # fmt: skip
"""A fragment for each group of pictures, or 2 s; its time is the source's (frag_discont), its places are its own."""

MATROSKA: Final = ("-f", "matroska")

IN_TS: Final = frozenset({b"avc1", b"avc3", b"hvc1", b"hev1", b"mp4v", b"mp4a", b"ac-3", b"ec-3", b".mp3"})
"""Sample entries of MP4 whose streams a transport stream holds and players find there."""

BOXES: Final = frozenset({b"ftyp", b"styp", b"moov", b"moof", b"sidx", b"emsg", b"prft", b"free"})
EBML: Final = b"\x1a\x45\xdf\xa3"
CLUSTER: Final = b"\x1f\x43\xb6\x75"
IN_MP4: Final = re.compile(rb"V_AV1|V_VP9|V_MPEG4/ISO/AVC|V_MPEGH/ISO/HEVC|A_OPUS|A_AAC|A_AC3|A_EAC3|A_FLAC")
CODEC: Final = re.compile(rb"(?:V|A|S)_[A-Z0-9/_]{2,24}")


def formats(data: bytes) -> tuple[str, ...]:
    """The formats that hold the stream which begins so, the preferred one first; empty: more has to be seen."""
    if data[4:8] in BOXES:
        return _of_mp4(data)
    if data.startswith(EBML):
        return _of_matroska(data)
    if len(data) < 8:
        return ()
    return ("matroska",) if data.lstrip(b"\xef\xbb\xbf").startswith(b"WEBVTT") else ("mpegts", "mp4", "matroska")


def _of_mp4(data: bytes) -> tuple[str, ...]:
    moov = next((body for kind, body in _boxes(data) if kind == b"moov"), None)
    if moov is None:
        return () if len(data) < LOOK else ("mp4", "matroska")
    entries = list(_entries(moov))
    return ("mpegts", "mp4", "matroska") if entries and IN_TS.issuperset(entries) else ("mp4", "matroska")


def _of_matroska(data: bytes) -> tuple[str, ...]:
    if CLUSTER not in data and len(data) < LOOK:
        return ()
    codecs = CODEC.findall(data.partition(CLUSTER)[0])
    return ("mp4", "matroska") if all(IN_MP4.match(codec) for codec in codecs) else ("matroska",)


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(kind, content) of the boxes that are there as a whole (ISO/IEC 14496-12, 4.2)."""
    at = 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if size < 8 or at + size > len(data):
            return
        yield data[at + 4 : at + 8], data[at + 8 : at + size]
        at += size


def _entries(moov: bytes) -> Iterator[bytes]:
    """The kinds of the sample entries of all tracks."""
    inside = [body for kind, body in _boxes(moov) if kind == b"trak"]
    for kind in (b"mdia", b"minf", b"stbl", b"stsd"):
        inside = [body for parent in inside for found, body in _boxes(parent) if found == kind]
    for stsd in inside:
        yield from (kind for kind, _ in _boxes(stsd[8:]))


def muxing(options: Sequence[str], held: Sequence[tuple[str, ...]]) -> list[str]:
    """ffmpeg's options with the format that holds all of the inputs; `held` has the formats that hold each."""
    common = [name for name in ("mpegts", "mp4", "matroska") if all(name in each for each in held)]
    *rest, _, _, output = options
    match common:
        case ["mpegts", *_]:
            return list(options)
        case ["mp4", *_]:
            return [*rest, *FRAGMENTED, output]
        case _:
            return [*rest, *MATROSKA, output]


def look(fds: Sequence[int]) -> list[tuple[str, ...]]:
    """Of each pipe the formats that hold what comes through it, as soon as its beginning tells."""
    found: dict[int, tuple[str, ...]] = {}
    with select.epoll() as poller:
        for fd in fds:
            poller.register(fd, select.EPOLLIN | select.EPOLLET)
        while len(found) < len(fds):
            for fd, events in poller.poll():
                data = _peek(fd)
                told = formats(data)
                if told or len(data) >= LOOK or events & select.EPOLLHUP:
                    found[fd] = told or ("mpegts", "mp4", "matroska")
    return [found[fd] for fd in fds]


def _peek(fd: int) -> bytes:
    """What is in a pipe, and stays there."""
    end, start = os.pipe()
    try:
        size = ctypes.CDLL(None, use_errno=True).tee(fd, start, ctypes.c_size_t(LOOK), WAIT_NOT)
        return os.read(end, size) if size > 0 else b""
    finally:
        os.close(end)
        os.close(start)


def main(options: list[str]) -> None:
    """Become ffmpeg."""
    places = [index + 1 for index, word in enumerate(options[:-1]) if word == "-i"]
    if options[-3:-1] == ["-f", ASKED] and places and all(_is_pipe(options[place]) for place in places):
        fds = [os.open(options[place], os.O_RDONLY) for place in places]
        options = muxing(options, look(fds))
        for place, fd in zip(places, fds, strict=True):
            os.set_inheritable(fd, True)  # noqa: FBT003
            options[place] = f"pipe:{fd}"
    os.execvp(PROGRAM, [PROGRAM, *options])  # noqa: S606


def _is_pipe(path: str) -> bool:
    try:
        return stat.S_ISFIFO(os.stat(path).st_mode)  # noqa: PTH116
    except OSError:
        return False


if __name__ == "__main__":
    main(sys.argv[1:])
