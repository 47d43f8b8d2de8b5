# SPDX-License-Identifier: GPL-3.0-or-later
"""The texts that a broadcast answers: media playlists, master playlists, and the manifest of DASH."""

from __future__ import annotations

from typing import Final

from tests.odd.show import Piece, Show, Track

GROUP: Final = "sound"
TIMESCALE: Final = 1000
PART_COUNT: Final = 4


def master(show: Show, suffix: str = "") -> str:
    """All tracks as one variant; the second has the sound. `suffix` goes behind each link."""
    main, *others = show.tracks
    lines = ["#EXTM3U", "#EXT-X-VERSION:7", "#EXT-X-INDEPENDENT-SEGMENTS"]
    lines += [
        f'#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="{GROUP}",NAME="{track.name}",DEFAULT=YES,AUTOSELECT=YES,'
        f'URI="{track.name}.m3u8{suffix}"'
        for track in others
    ]
    words = ["BANDWIDTH=900000", "RESOLUTION=160x90"]
    words += [f'CODECS="{show.manner.codecs}"'] if show.manner.codecs else []
    words += [f'AUDIO="{GROUP}"'] if others else []
    return "\n".join([*lines, f"#EXT-X-STREAM-INF:{','.join(words)}", f"{main.name}.m3u8{suffix}", ""])


def media(show: Show, track: Track, at: float, suffix: str = "") -> str:
    """The media playlist of a track."""
    manner, listed = show.manner, show.listed(at)
    base = max([0, *(start for start in manner.restarts if start < listed.stop)])
    sequence = 0 if manner.zero else listed.start - base
    lines = ["#EXTM3U", "#EXT-X-VERSION:7", f"#EXT-X-TARGETDURATION:{show.target}"]
    lines += [f"#EXT-X-MEDIA-SEQUENCE:{sequence}", *manner.head]
    if manner.parts:
        lines += ["#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=1.5", "#EXT-X-PART-INF:PART-TARGET=0.5"]
    if manner.key:
        form = ',KEYFORMAT="com.apple.streamingkeydelivery",KEYFORMATVERSIONS="1"' if manner.key != "AES-128" else ""
        lines.append(f'#EXT-X-KEY:METHOD={manner.key},URI="key{suffix}"{form}')
    before: Piece | None = None
    for index in listed:
        piece = track.pieces[index]
        lines += _entry(show, track, index, before, suffix)
        before = piece
    if manner.endlist and listed.stop == len(track.pieces):
        lines.append("#EXT-X-ENDLIST")
    return "\n".join([*lines, ""])


def _entry(show: Show, track: Track, index: int, before: Piece | None, suffix: str) -> list[str]:
    manner, piece = show.manner, track.pieces[index]
    lines = list(piece.tags)
    if piece.clip.init is not None and (before is None or before.clip is not piece.clip):
        lines.append(f'#EXT-X-MAP:URI="{init_name(track, index)}{suffix}"')
    if manner.parts:
        part, size = piece.real / PART_COUNT, len(piece.body()) // PART_COUNT
        name = segment_name(track, index)
        lines += [
            f'#EXT-X-PART:DURATION={part:.3f},URI="{name}{suffix}",BYTERANGE="{size}@{number * size}"'
            + (",INDEPENDENT=YES" if number == 0 else "")
            for number in range(PART_COUNT)
        ]
    lines.append(f"#EXTINF:{piece.told:.3f},")
    if manner.ranges:
        start, size = place(track, index)
        return [*lines, f"#EXT-X-BYTERANGE:{size}@{start}", f"{track.name}-all{piece.clip.spec.suffix}{suffix}"]
    return [*lines, f"{segment_name(track, index)}{suffix}"]


def segment_name(track: Track, index: int) -> str:
    return f"{track.name}-{index:05d}{track.pieces[index].clip.spec.suffix}"


def init_name(track: Track, index: int) -> str:
    """Of the initialisation that a media segment needs: the number of the first that has the same."""
    clip = track.pieces[index].clip
    first = next(number for number, piece in enumerate(track.pieces) if piece.clip is clip)
    return f"{track.name}-init{first:05d}.mp4"


def place(track: Track, index: int) -> tuple[int, int]:
    """Where a media segment begins in the file that has all of them, and its size."""
    sizes = [len(piece.body()) for piece in track.pieces[: index + 1]]
    return sum(sizes[:-1]), sizes[-1]


def manifest(show: Show, at: float, began: str) -> str:
    """Of DASH, as it is at that second; `began` is when the broadcast began, in words of ISO 8601."""
    listed = show.listed(at)
    window = sum(show.pieces[index].real for index in listed)
    sets = [_adaptation(show, track, listed) for track in show.tracks]
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="dynamic" profiles="urn:mpeg:dash:profile:isoff-live:2011" '
        f'availabilityStartTime="{began}" publishTime="{began}" minimumUpdatePeriod="PT{show.target}S" '
        f'timeShiftBufferDepth="PT{window:.0f}S" maxSegmentDuration="PT{show.target}S" minBufferTime="PT2S">'
        f'<Period id="0" start="PT0S">{"".join(sets)}</Period></MPD>\n'
    )


def _adaptation(show: Show, track: Track, listed: range) -> str:
    spec = track.pieces[0].clip.spec
    kind = "video" if "v" in spec.tracks else "audio"
    codec = "avc1.42c00b" if kind == "video" else "mp4a.40.2"
    extra = 'width="160" height="90"' if kind == "video" else 'audioSamplingRate="48000"'
    times = "".join(
        f'<S t="{(show.ends[index] - show.pieces[index].real) * TIMESCALE:.0f}" '
        f'd="{show.pieces[index].real * TIMESCALE:.0f}"/>'
        for index in listed
    )
    return (
        f'<AdaptationSet contentType="{kind}" mimeType="{kind}/mp4" segmentAlignment="true" startWithSAP="1">'
        f'<SegmentTemplate timescale="{TIMESCALE}" startNumber="{listed.start}" '
        f'initialization="{track.name}-init00000.mp4" media="{track.name}-$Number%05d$.m4s">'
        f"<SegmentTimeline>{times}</SegmentTimeline></SegmentTemplate>"
        f'<Representation id="{track.name}" bandwidth="200000" codecs="{codec}" {extra}/></AdaptationSet>'
    )
