# SPDX-License-Identifier: GPL-3.0-or-later
"""Playlists (RFC 8216) of a broadcast as it is now. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable

    from tests.fakes.media import Media

AUDIO = "audio"
HIGH = "high"
"""Renditions of a broadcast beside the main one: audio of its own, and a larger picture. Names begin with them."""


def media_playlist(
    media: Media,
    rendition: str,
    offered: range,
    *,
    is_ended: bool,
    shows: Container[int] = (),
    date: Callable[[int], float] | None = None,
) -> bytes:
    """The media segments that are offered; with some of them other shows begin. `date`: when each was broadcast."""
    seconds = media.spec.segment
    lines = ["#EXTM3U", "#EXT-X-VERSION:3", f"#EXT-X-TARGETDURATION:{seconds}"]
    lines.append(f"#EXT-X-MEDIA-SEQUENCE:{offered.start}")
    if gone := sum(is_changed(media, index) or index in shows for index in range(offered.start)):
        lines.append(f"#EXT-X-DISCONTINUITY-SEQUENCE:{gone}")
    if media.key is not None:
        lines.append('#EXT-X-KEY:METHOD=AES-128,URI="key"')
    prefix = f"{rendition}-" if rendition else ""
    for index in offered:
        if is_changed(media, index) or index in shows:
            lines.append("#EXT-X-DISCONTINUITY")
        init = media.init(media.variant(index))
        if init is not None and (index == offered.start or is_changed(media, index)):
            lines.append(f'#EXT-X-MAP:URI="{prefix}{init.name}"')
        if date is not None:
            told = datetime.fromtimestamp(date(index), UTC).isoformat(timespec="milliseconds")
            lines.append(f"#EXT-X-PROGRAM-DATE-TIME:{told}")
        lines += [f"#EXTINF:{seconds:.6f},", f"{prefix}{index:05d}{media.suffix}"]
    if is_ended:
        lines.append("#EXT-X-ENDLIST")
    return _text(lines)


def is_changed(media: Media, index: int) -> bool:
    """Whether another encoder begins with a media segment."""
    return index > 0 and media.variant(index) != media.variant(index - 1)


def master_playlist(renditions: Iterable[tuple[str, Media]]) -> bytes:
    """What there is to choose from; the main rendition's name is empty."""
    lines = ["#EXTM3U"]
    for name, media in renditions:
        uri = f"{name}.m3u8" if name else "live.m3u8"
        if name == AUDIO:
            lines.append(f'#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="main",DEFAULT=YES,AUTOSELECT=YES,URI="{uri}"')
            continue
        group = ',AUDIO="a"' if media.audio is not None else ""
        what = f'BANDWIDTH=400000,RESOLUTION={media.spec.size},CODECS="avc1.42c00d,mp4a.40.2"{group}'
        lines += [f"#EXT-X-STREAM-INF:{what}", uri]
    return _text(lines)


def _text(lines: Iterable[str]) -> bytes:
    return ("\n".join(lines) + "\n").encode()
