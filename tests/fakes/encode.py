# SPDX-License-Identifier: GPL-3.0-or-later
"""How the kinds of test media are made: transport streams are encoded, everything else is made of these."""

from __future__ import annotations

import os
import subprocess
import tempfile
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.fakes.ffmpeg import MediaError, audio_positions, frame_digests, run

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.fakes.media import Media

FPS: Final = 30
CHANGE_EVERY: Final = 12
"""Media segments from one change of the encoder to the next."""
OTHER_CLOCK: Final = 3600
"""Where (s) the clock of the other encoder begins."""
KEY: Final = bytes(range(16))


def make(media: Media, sources: Sequence[Media]) -> None:
    """All files of the media in their folder, which is empty yet."""
    match media.spec.kind:
        case "ts":
            _encode(media)
        case "fmp4":
            fmp4 = ("-hls_segment_type", "fmp4", "-hls_fmp4_init_filename", "init0.mp4")
            _repackage(media, sources[0], "-c", "copy", "-bsf:a", "aac_adtstoasc", *fmp4)
        case "aes":
            _encrypt(media, sources[0])
        case "audio":
            _repackage(media, sources[0], "-map", "0:a", "-c", "copy")
        case "separate":
            _repackage(media, sources[0], "-map", "0:v", "-c", "copy")
            assert media.audio is not None
            _repackage(media.audio, sources[0], "-map", "0:a", "-c", "copy")
        case _:
            _alternate(media, sources)
    if "video" in media.tracks:
        _index_video(media, sources)


def _encode(media: Media) -> None:
    spec = media.spec
    gop = str(FPS * spec.segment)
    length = f"duration={spec.seconds}"
    seed, clock = (1, 0) if spec.is_first else (2, OTHER_CLOCK)
    run(
        *("-f", "lavfi", "-i", f"testsrc2=size={spec.size}:rate={FPS}:{length}"),
        *("-f", "lavfi", "-i", f"anoisesrc=color=pink:seed={seed}:amplitude=0.2:sample_rate=48000:{length}"),
        *("-map", "0:v", "-map", "1:a", "-pix_fmt", "yuv420p"),
        *("-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-b:v", spec.bitrate),
        *("-g", gop, "-keyint_min", gop, "-sc_threshold", "0", "-c:a", "aac", "-b:a", "64k"),
        *("-output_ts_offset", str(clock), *_hls(media)),
    )


def _hls(media: Media, *options: str) -> tuple[str, ...]:
    """A media playlist of all media segments, as ffmpeg's output."""
    pattern = media.segment(0).name.replace("00000", "%05d")
    common = ("-f", "hls", "-hls_time", str(media.spec.segment), "-hls_list_size", "0", *options)
    return (*common, "-hls_segment_filename", str(media.folder / pattern), str(media.playlist))


def _repackage(media: Media, source: Media, *options: str) -> None:
    """The same frames in other packets."""
    run("-i", source.playlist, *options, "-muxpreload", "0", "-muxdelay", "0", "-copyts", *_hls(media))
    # audio is a few packets longer
    media.segment(media.count).unlink(missing_ok=True)
    if not media.segment(media.count - 1).exists() or media.segment(media.count + 1).exists():
        raise MediaError(f"{media.folder}: want {media.count} media segments")


def _encrypt(media: Media, source: Media) -> None:
    """AES-128 with the media segment's number as initialisation vector (RFC 8216, 4.3.2.4)."""
    (media.folder / "key").write_bytes(KEY)
    for index in range(media.count):
        names = ("-in", str(source.segment(index)), "-out", str(media.segment(index)))
        command = ["openssl", "enc", "-aes-128-cbc", "-K", KEY.hex(), "-iv", f"{index:032x}", *names]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode != 0:
            raise MediaError(f"openssl gave {done.returncode}: {done.stderr.strip()}")


def _alternate(media: Media, sources: Sequence[Media]) -> None:
    """The media segments of two encoders, taking turns."""
    for number, source in enumerate(sources):
        if (init := source.init(0)) is not None:
            os.link(init, media.folder / f"init{number}.mp4")
    for index in range(media.count):
        os.link(sources[media.variant(index)].segment(index), media.segment(index))


# --- indexes -------------------------------------------------------------------------------------------------------


def _index_video(media: Media, sources: Sequence[Media]) -> None:
    if not sources:
        digests = frame_digests(media.playlist)
    elif len(sources) == 1:
        digests = list(sources[0].index("video").numbers)
    else:
        digests = _taken_in_turns(media, sources, "video")
    _check(media, digests, media.count * media.frames_per_segment)
    (media.folder / "frames.md5").write_text("\n".join(digests))


def _taken_in_turns(media: Media, sources: Sequence[Media], track: str) -> list[str]:
    indexes = [source.index(track) for source in sources]
    digests = [list(index.numbers) for index in indexes]
    found: list[str] = []
    for segment in range(media.count):
        starts = indexes[media.variant(segment)].starts
        found += digests[media.variant(segment)][starts[segment] : starts[segment + 1]]
    return found


def _check(media: Media, digests: Sequence[str], wanted: int) -> None:
    if len(digests) != wanted or len(set(digests)) != wanted:
        raise MediaError(f"{media.folder}: {len(digests)} frames, {len(set(digests))} differ; want {wanted}")


def index_audio(media: Media) -> None:
    """Writes audio.md5 and audio.starts."""
    sources = media.sources()
    carrier = media.audio or media
    if len(sources) == 2:
        digests = _taken_in_turns(media, sources, "audio")
        parts = [sources[media.variant(index)].index("audio").starts for index in range(media.count)]
        starts = [0, *accumulate(part[index + 1] - part[index] for index, part in enumerate(parts))]
    elif media.key is not None:
        index = sources[0].index("audio")
        digests, starts = list(index.numbers), list(index.starts)
    else:
        digests, starts = _packets(carrier)
    _check(media, digests, len(digests))
    (media.folder / "audio.starts").write_text(" ".join(map(str, starts)))
    fresh = media.folder / "audio.md5.new"
    fresh.write_text("\n".join(digests))
    fresh.rename(media.folder / "audio.md5")


def _packets(media: Media) -> tuple[list[str], list[int]]:
    """The audio packets of all media segments one behind the other, and the number that each begins with."""
    paths = [*filter(None, [media.init(0)]), *(media.segment(index) for index in range(media.count))]
    ends = list(accumulate(path.stat().st_size for path in paths))[-media.count :]
    with tempfile.NamedTemporaryFile(suffix=media.suffix) as whole:
        _concatenate(paths, Path(whole.name))
        packets = list(audio_positions(Path(whole.name)))
    starts, at = [0], 0
    for end in ends:
        while at < len(packets) and packets[at].offset < end:
            at += 1
        starts.append(at)
    return [packet.digest for packet in packets], starts


def _concatenate(paths: Iterable[Path], whole: Path) -> None:
    with whole.open("wb") as file:
        for path in paths:
            file.write(path.read_bytes())
