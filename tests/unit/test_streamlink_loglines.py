# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines as streamlink 7.3.0 and 8.6.3 print them."""

from __future__ import annotations

import pytest

from streamvaultd.core.pace import Pace
from streamvaultd.core.recording.loglines import Line, classify, date_in, pace_in, resolved_quality

OFFERS = "The source offers the last 30.0 s, in media segments of up to 6.0 s"
DATED = "The first media are of 1795426110.740"
LINES = [
    (f"info plugins.streamvault_dates: {DATED}", Line.DATED),
    (f"info plugins.streamvault_patience: {OFFERS}", Line.PACE),
    ("warning plugins.streamvault_patience: A playlist is gone that was not read for 27.3 s: what it offered meanwhile"
     " is missing", Line.UNREAD),
    ("info cli: Opening stream: 720p60 (hls)", Line.OPENING),
    ("info cli: Opening stream: 720p60 (hls-multi)", Line.MUXING),
    ("[cli][info] Opening stream: 720p60 (hls)", Line.OPENING),
    ("error stream.hls: Failed to fetch segment 34: Unable to open URL: http://h/4 (404 Client Error: x)",
     Line.FETCH_FAILED),
    ("error stream.hls: Failed to fetch map for segment 3: x", Line.FETCH_FAILED),
    ("error stream.hls: Download of segment 7 failed: Read timed out", Line.FETCH_FAILED),
    ("warning stream.hls: Sequence gap of 8 segments at position 52. This is", Line.SEQUENCE_GAP),
    ("warning stream.hls: Sequence gap of 1 segment at position 52. This is", Line.SEQUENCE_GAP),
    ("warning stream.hls: Skipped segments 5-9 after playlist reload. This is", Line.SEQUENCE_GAP),
    ("warning stream.hls: Skipped segment 5 after playlist reload. This is", Line.SEQUENCE_GAP),
    ("warning stream.hls: Reloading failed: Unable to open URL: http://h/l (404 Client Error: x)",
     Line.RELOAD_REFUSED),
    ("warning stream.hls: Failed to reload playlist: Unable to open URL: http://h/l (x)", Line.RELOAD_FAILED),
    ("warning stream.hls: Failed to reload playlist: Unable to open URL: http://h/l (404 Client Error: x)",
     Line.RELOAD_REFUSED),
    ("warning stream.hls: Reloading failed: Unable to open URL: http://h/l?t=x (403 Client Error: Forbidden: x)",
     Line.RELOAD_REFUSED),
    ("warning stream.segmented: No new segments for more than 20.00s. Stopping...", Line.SOURCE_SILENT),
    ("warning stream.hls: No new segments in playlist for more than 20.00s. Stop", Line.SOURCE_SILENT),
    ("error: Error when reading from stream: Read timeout, exiting", Line.READ_TIMEOUT),
    ("error: Error when writing to output: [Errno 28] No space left on device, exiting", Line.DISK_ERROR),
    ("error: Error when writing to output: [Errno 122] Disk quota exceeded, exiting", Line.DISK_ERROR),
    ("error: Error when writing to output: [Errno 5] Input/output error, exiting", Line.DISK_ERROR),
    ("error: Error when writing to output: [Errno 30] Read-only file system, exiting", Line.DISK_ERROR),
    ("error: Error when writing to output: [Errno 32] Broken pipe, exiting", Line.ERROR),
    ("info stream.hls: Filtering out segments and pausing stream output", Line.FILTERING),
    ("info stream.segmented: Stopping stream early after 10.00s", Line.ENOUGH),
    ("info stream.hls: Stopping stream early after 10.0", Line.ENOUGH),
    ("info stream.hls: Resuming stream output", Line.RESUMING),
    ("error: No plugin can handle URL: http://h/foo", Line.NO_PLUGIN),
    ("error: No playable streams found on this URL: http://h/foo", Line.NO_STREAMS),
    ("error: The specified stream(s) '1080p' could not be found.", Line.NO_QUALITY),
    ("error: Unable to open URL: http://h/l (404 Client Error: Not Found for url: http://h/l)",
     Line.NOT_FOUND),
    ("error: Unable to open URL: http://h/l (410 Client Error: Gone for url: http://h/l)", Line.NOT_FOUND),
    ("error: Unable to open URL: http://h/404 (HTTPConnectionPool(host='h'): Max retries)", Line.UNREACHABLE),
    ("error: Unable to open URL: http://h/l (503 Server Error: x for url: http://h/l)", Line.UNREACHABLE),
    ("error: Unable to open URL: http://h/l (429 Client Error: Too Many Requests for url: http://h/l)",
     Line.UNREACHABLE),
    ("error: Unable to open URL: http://h/l (HTTPSConnectionPool(host='h', port=443): Read timed out.)",
     Line.UNREACHABLE),
    ("error: Unable to open URL: http://h/l (HTTPConnectionPool(host='h', port=80): Max retries exceeded with url: /l "
     "(Caused by NameResolutionError(\"Failed to resolve 'h' ([Errno -3] Temporary failure in name resolution)\")))",
     Line.UNREACHABLE),
    ("error: Unable to open URL: http://h/l (403 Client Error: Forbidden for url: http://h/l)", Line.CANNOT_OPEN),
    ("error: Unable to open URL: http://h/503/l (401 Client Error: Unauthorized for url: http://h/503/l)",
     Line.CANNOT_OPEN),
    ("warning stream.hls: Failed to reload playlist: Unable to open URL: http://h/l (503 Server Error: x)",
     Line.RELOAD_FAILED),
    ("error: Could not open stream <HLSStream>, tried 3 times, exiting", Line.CANNOT_OPEN),
    ("Interrupted! Exiting...", Line.INTERRUPTED),
    ("info cli: Stream ended", None),
    ("info cli: Available streams: 180p (worst, best)", None),
    ("", None),
]  # fmt: skip


@pytest.mark.parametrize(("text", "kind"), LINES)
def test_lines(text: str, kind: Line | None) -> None:
    assert classify(text) is kind


def test_the_chosen_quality_is_in_the_opening_line() -> None:
    assert resolved_quality("info cli: Opening stream: 1080p60__h264 (hls)") == "1080p60__h264"
    assert resolved_quality("info cli: Stream ended") is None


def test_the_pace_of_a_source_is_what_our_own_line_tells() -> None:
    """Nobody else's: a title may say what it likes."""
    assert pace_in(f"info plugins.streamvault_patience: {OFFERS}") == Pace(target=6.0, window=30.0)
    assert pace_in("info plugins.streamvault_patience: " + OFFERS.replace("6.0", "0.0")) is None
    for text in (OFFERS, f"info cli: {OFFERS}", f"info cli: x info plugins.streamvault_patience: {OFFERS}"):
        assert pace_in(text) is None
        assert classify(text) is not Line.PACE


def test_when_the_first_media_were_broadcast_is_what_our_own_line_tells() -> None:
    assert date_in(f"info plugins.streamvault_dates: {DATED}") == 1_795_426_110_740_000
    for text in (
        DATED,
        f"info cli: {DATED}",
        f"info cli: x\ninfo plugins.streamvault_dates: {DATED}",
        f"{DATED}9" * 9,
    ):
        assert date_in(text) is None
        assert classify(text) is not Line.DATED
