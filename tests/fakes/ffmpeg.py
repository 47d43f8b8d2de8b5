# SPDX-License-Identifier: GPL-3.0-or-later
"""ffmpeg as tests use it: to make media, and to look at them by digests."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


HASH = 5
"""The column of framemd5 with the digest of the data; more columns follow where there are side data."""


class MediaError(Exception):
    """Media could not be made, or are not as they must be."""


class Decoded(NamedTuple):
    """MD5 of each frame or packet, in order, and what ffmpeg complained of."""

    digests: list[str]
    complaints: list[str]


class Packet(NamedTuple):
    """MD5 of a packet's data, and where in its file it begins."""

    digest: str
    offset: int


def run(*arguments: str | Path, command: str = "ffmpeg") -> subprocess.CompletedProcess[str]:
    """Run it to its end; raises MediaError if that is a bad one."""
    words = [command, *(["-nostdin"] if command == "ffmpeg" else []), "-v", "error", *map(str, arguments)]
    done = subprocess.run(words, check=False, capture_output=True, text=True, errors="replace")
    if done.returncode != 0:
        raise MediaError(f"{command} gave {done.returncode}: {done.stderr.strip()}")
    return done


def decode(file: Path) -> Decoded:
    """Each frame of the first video track, in order of presentation, decoded; each at its own size."""
    return _digests("-i", file, "-map", "0:v:0", "-fps_mode", "passthrough", "-autoscale", "0")


def audio_packets(file: Path) -> Decoded:
    """Each packet of the first audio track, in the order of the file, as it is."""
    return _digests("-i", file, "-map", "0:a:0", "-c", "copy")


def _digests(*arguments: str | Path) -> Decoded:
    done = run(*arguments, "-f", "framemd5", "-")
    lines = [line for line in done.stdout.splitlines() if not line.startswith("#")]
    return Decoded([line.split(",")[HASH].strip() for line in lines], done.stderr.splitlines())


def frame_digests(file: Path) -> list[str]:
    """MD5 of each frame of the first video track, in order of presentation; ffmpeg decodes it, errors raise."""
    return decode(file).digests


def audio_positions(file: Path) -> Iterator[Packet]:
    """Each packet of the first audio track with its place in the file: several in one PES packet have the same."""
    fields = ("-select_streams", "a:0", "-show_entries", "packet=pos,data_hash", "-show_data_hash", "md5")
    offset = 0
    for packet in json.loads(run(*fields, "-of", "json", file, command="ffprobe").stdout)["packets"]:
        offset = int(packet.get("pos", offset))
        yield Packet(packet["data_hash"].removeprefix("MD5:"), offset)
