# SPDX-License-Identifier: GPL-3.0-or-later
"""What is in a file: a digest of each decoded picture and of each packet of sound, the same in every container."""

from __future__ import annotations

import json
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.fakes.ffmpeg import HASH
from tests.odd.boxes import runs_of

KINDS: Final = "va"
"""Pictures and sound."""
NAMES: Final = {"v": "video", "a": "audio"}
PATIENT: Final = ("-probesize", "200M", "-analyzeduration", "600M")
"""Streams that begin late are found, too."""
PNG: Final = b"\x89PNG"
INDEXED: Final = (".mp4", ".mkv")
"""Files of which a player asks the container how long they are."""
LIMIT: Final = 300.0


@dataclass(slots=True)
class Looked:
    """Digests by kind, in order, what the decoder complained of, and the seconds that an index tells, if any does."""

    digests: dict[str, list[str]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    complaints: list[str] = field(default_factory=list)
    seconds: float | None = None


def _form(file: Path) -> tuple[str, ...]:
    """ffmpeg takes what begins with a picture for one."""
    with file.open("rb") as opened:
        return ("-f", "mpegts") if opened.read(len(PNG)) == PNG else ()


def look(file: Path) -> Looked:
    """Decode the pictures, read the sound. A file that nothing can be read of has nothing.

    ffmpeg reads a fragmented MP4 by its clock: where that runs back, the rest is looked at by itself.
    """
    looked, runs = _look(file), runs_of(file)
    if runs or file.suffix not in INDEXED:
        looked.seconds = None
    if len(runs) > 1:
        looked.digests = {kind: [] for kind in KINDS}
        for run in runs:
            with tempfile.NamedTemporaryFile(suffix=".mp4") as part:
                part.write(run)
                part.flush()
                seen = _look(Path(part.name))
            for kind in KINDS:
                looked.digests[kind] += seen.digests[kind]
    return looked


def _look(file: Path) -> Looked:
    looked = Looked()
    probed = _probe(file, "-show_entries", "format=duration:stream=codec_type,codec_name")
    streams = {stream.get("codec_type", "")[:1]: stream.get("codec_name", "") for stream in probed.get("streams", ())}
    looked.seconds = float(probed.get("format", {}).get("duration", 0.0))
    if "v" in streams:
        # numbered anew: what the clock says is another question
        _digest(
            looked, "v", file, "-map", "0:v", "-vf", "setpts=N/25/TB", "-fps_mode", "passthrough", "-autoscale", "0"
        )
    if "a" in streams:
        bare = "aac_adtstoasc," if streams["a"] == "aac" else ""
        filters = f"{bare}setts=pts=N*1024:dts=N*1024"  # codespell:ignore setts
        _digest(looked, "a", file, "-map", "0:a", "-c", "copy", "-bsf:a", filters)
    return looked


def positions(file: Path) -> dict[str, list[int]]:
    """Where each packet begins; several in one PES packet begin where that does."""
    found: dict[str, list[int]] = {kind: [] for kind in KINDS}
    at = dict.fromkeys(KINDS, 0)
    for packet in _probe(file, "-show_entries", "packet=codec_type,pos").get("packets", ()):
        kind = packet.get("codec_type", "")[:1]
        if kind in found:
            at[kind] = int(packet.get("pos", at[kind]))
            found[kind].append(at[kind])
    return found


def _probe(file: Path, *arguments: str) -> dict[str, Any]:
    done = _run("ffprobe", *PATIENT, *_form(file), *arguments, "-of", "json", file)
    answer: dict[str, Any] = json.loads(done.stdout or "{}")
    return answer


def _digest(looked: Looked, kind: str, file: Path, *arguments: str) -> None:
    done = _run("ffmpeg", "-nostdin", *PATIENT, *_form(file), "-i", file, *arguments, "-f", "framemd5", "-")
    lines = [line.split(",") for line in done.stdout.splitlines() if not line.startswith("#")]
    # of several streams one behind the other
    looked.digests[kind] = [line[HASH].strip() for line in sorted(lines, key=lambda line: int(line[0]))]
    looked.complaints += [f"{NAMES[kind]}: {line}" for line in done.stderr.splitlines()]


def _run(command: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    words = [command, "-v", "error", *map(str, arguments)]
    return subprocess.run(words, check=False, capture_output=True, text=True, errors="replace", timeout=LIMIT)
