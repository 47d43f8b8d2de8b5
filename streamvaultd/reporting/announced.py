# SPDX-License-Identifier: GPL-3.0-or-later
"""What recordings tell people: one entry for each notice of the core. The daemon's own are in notices.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from streamvaultd.core.recording.effects import Notice
from streamvaultd.reporting.entry import ERROR, INFO, NOTICE, WARNING, Entry

ENTRIES: Final[Mapping[str, Entry]] = {
    Notice.RECORDING_STARTED: Entry(
        "3f33f6d7f6d9471983167765bcca19de", NOTICE, "Recording {recording} of '{streamer}' begins"
    ),
    Notice.SEGMENT_STARTED: Entry("ff6a35097f044c65b2f312c4b83c549b", INFO, "Segment {segment} of '{streamer}' runs"),
    Notice.MEDIA_ARRIVED: Entry(
        "ddbfce3bd42f488f99608ba9bb3e438b", NOTICE, "Segment {segment} of '{streamer}' records"
    ),
    Notice.SEGMENT_ENDED: Entry(
        "4e07acd7e5d140faaefba2966ded9772", INFO, "Segment {segment} of '{streamer}' ended ({cause}): {why}"
    ),
    Notice.SEGMENT_DIED: Entry(
        "78cd894fe2d649a4af1d944606ba06d5", WARNING, "Segment {segment} of '{streamer}' died ({cause}): {why}"
    ),
    Notice.MEDIA_GONE: Entry(
        "a5eab72e343e498bafe9cbb6edc75118",
        ERROR,
        "Segment {segment} of '{streamer}' had {known} bytes, its file has {size}: somebody removed or cut it",
    ),
    Notice.FILE_TAKEN: Entry(
        "eee501f43dbd4991baa4b87a9fea37f3",
        WARNING,
        "Somebody has {how} the file of segment {segment} of '{streamer}' while it is written: {then}",
    ),
    Notice.CAUSE_CORRECTED: Entry(
        "b0d9b9a94bd6424793c47f56cf7ebf03",
        NOTICE,
        "Segment {segment} of '{streamer}' died of {cause}, not of {before}",
    ),
    Notice.LAUNCH_FAILED: Entry(
        "73537b035ad340a497066ed7d64afe9e", WARNING, "Cannot start segment {segment} of '{streamer}': {why}"
    ),
    Notice.ROTATION_STARTED: Entry(
        "5f83a6815ff54364aa6af2ca577fc817", INFO, "Rotating segment {segment} of '{streamer}' to segment {new}"
    ),
    Notice.ROTATION_DONE: Entry(
        "c401fcc431164b9a836ac829a6817f90", NOTICE, "Successfully rotated to segment {new} of '{streamer}'"
    ),
    Notice.ROTATION_GONE_ON: Entry(
        "edbc5b9e44c54a41b51c2f40ff4aa989",
        NOTICE,
        "Segment {old} of '{streamer}' already terminated externally, continuing with rotation to segment {segment}",
    ),
    Notice.ROTATION_FAILED: Entry(
        "6255c60790bc40c288fc009c05542c2e",
        WARNING,
        "Rotation of '{streamer}' to segment {segment} failed ({cause}): {why}; segment {old} records on",
    ),
    Notice.OVERLAP_UNPROVEN: Entry(
        "d1452170e7ac45e6bd70a8937ff57ae6",
        WARNING,
        "Rotation of '{streamer}' from segment {old} to {segment} went on without proof that they overlap",
    ),
    Notice.MEDIA_MISSED: Entry(
        "cba0a5c352664f9ab08f523f78d60150",
        WARNING,
        "Segment {segment} of '{streamer}' has missed media ({why}), segment {new} fetches what is still offered",
    ),
    Notice.SUSPECTED: Entry(
        "a29a050307a14239bdad58e80953ec17",
        NOTICE,
        "Segment {segment} of '{streamer}' may be losing media ({why}), segment {new} starts beside it",
    ),
    Notice.STREAM_STILL: Entry(
        "31c2897b1a854cd49b54dfa285d98e3f", WARNING, "In segment {segment} of '{streamer}' {why}"
    ),
    Notice.STREAM_MOVES: Entry(
        "5c7e550746524fbc9ce0f2b46a59c5b4", NOTICE, "In segment {segment} of '{streamer}' all streams go on again"
    ),
    Notice.CONTAINER_UNFIT: Entry(
        "bc55d039ba214ea090825a89372ee223",
        WARNING,
        "Recording {recording} of '{streamer}' will not become an MP4: {why}; it stays as it comes",
    ),
    Notice.BESIDE_FAILED: Entry(
        "d0b0b558b864485c8d746657a32a5973",
        INFO,
        "Segment {segment} of '{streamer}' could not start beside segment {old} ({cause}): {why}",
    ),
    Notice.SOURCE_SILENT: Entry(
        "d8c5d9749ec74915b0db884e855b9e82",
        NOTICE,
        "The source of '{streamer}' is over or silent ({why}), waiting for it for {grace} at least",
    ),
    Notice.SOURCE_BACK: Entry("a3bbbac53261431e942e839842ba634c", NOTICE, "The source of '{streamer}' is live again"),
    Notice.STALLED: Entry(
        "defc4f87b0fb46e9a5b2db039485228e",
        WARNING,
        "Segment {segment} of '{streamer}' hangs ({cause}): {why}, replacing it",
    ),
    Notice.MEMORY_RAISED: Entry(
        "69aa5efcd33d4006888b4bd6901a0a9d",
        NOTICE,
        "Segments of '{streamer}' get {limit} of memory from now on; segment {segment} had {before}",
    ),
    Notice.MEMORY_NEAR: Entry(
        "c22a1b11365a4c3b88cfd4adac86d60d",
        WARNING,
        "Segment {segment} of '{streamer}' holds {anon} of its {limit} of memory, rotating it to segment {new}",
    ),
    Notice.DISK_LOW: Entry(
        "51f0da78d06a4b9da145c8bd1a7a61c1", ERROR, "Recording {recording} of '{streamer}' pauses, no room: {why}"
    ),
    Notice.DISK_FREED: Entry(
        "b5536a3928ce4dd4919b1c773029fe94",
        NOTICE,
        "There is room again, recording {recording} of '{streamer}' goes on",
    ),
    Notice.STOP_OVERDUE: Entry(
        "7c0dd8e6b2c84ec08c69fc6c1f50ac10",
        WARNING,
        "Segment {segment} of '{streamer}' does not stop after {tries} tries",
    ),
    Notice.STOPPING: Entry(
        "0112dc29735d42339a8d115733830989", NOTICE, "Stopping recording {recording} of '{streamer}': {why}"
    ),
    Notice.ADOPTED: Entry(
        "b88d634b46744486b4e3eed6117b05ca", NOTICE, "Adopted running segment {segment} of '{streamer}'"
    ),
    Notice.JOIN_STARTED: Entry(
        "3ac89a2f464643009f0b0b639ddcfa41", INFO, "Joining the segments of '{streamer}' ({segments})"
    ),
    Notice.JOIN_FAILED: Entry(
        "f0dc428c32ff4f52a050c57d1df92a1e",
        WARNING,
        "Cannot join recording {recording} of '{streamer}' (try {tries}), trying again in {pause}: {why}",
    ),
    Notice.UNJOINED: Entry(
        "8e5f1d0b6a7c4f3ea2d94b7c10fe6358",
        ERROR,
        "Recording {recording} of '{streamer}' has no file yet, {tries} joins in a row have failed: {why}",
    ),
    Notice.RECORDING_COMPLETED: Entry(
        "89092b30eb82409885b054be6ad161d9", NOTICE, "Recording {recording} of '{streamer}' is complete: {path}"
    ),
    Notice.RECORDING_STOPPED: Entry(
        "cb1680cf65024d61be1247e8e8f54c52", NOTICE, "Recording {recording} of '{streamer}' was stopped: {path}"
    ),
    Notice.RECORDING_FAILED: Entry(
        "564dc4c7ea4a42cda0bab8564a0c2e0a", ERROR, "Recording {recording} of '{streamer}' failed: {why}"
    ),
    Notice.RETRYING: Entry(
        "98893ebdf5a84f299d047328c9939fe2",
        NOTICE,
        "Recording {recording} of '{streamer}' is tried again, it was {state}",
    ),
    Notice.KEPT: Entry(
        "5d0c8b1e7a3f4d26b94e6f2108ca75d3",
        NOTICE,
        "Recording {recording} of '{streamer}' is marked to be kept, no rule removes its media",
    ),
    Notice.UNKEPT: Entry(
        "e27f9a64c0b8413d8f5a1c6d3b7042e9",
        NOTICE,
        "Recording {recording} of '{streamer}' is not marked to be kept any longer",
    ),
    Notice.MEDIA_PRUNED: Entry(
        "84ded028e11f4c689e49e692f9e4699d",
        NOTICE,
        "The media of recording {recording} of '{streamer}' were removed by request: {files} files, {size} bytes",
    ),
    Notice.MEDIA_EXPIRED: Entry(
        "6a1d4c8e92f74b0fb35e7d2a90c6f814",
        NOTICE,
        "The media of recording {recording} of '{streamer}' are not kept any longer ({rule}), they were removed: "
        "{files} files, {size} bytes",
    ),
    Notice.NOT_KEPT: Entry(
        "3b5e7f0a9c4d4e1f8a6b2c0d7e9f1a34", NOTICE, "Recording {recording} of '{streamer}' is not kept: {why}"
    ),
    Notice.MEDIA_DISCARDED: Entry(
        "c1f4a8d2e6b049739d5e0f7a3b8c2d61",
        NOTICE,
        "The media of recording {recording} of '{streamer}' are discarded: {files} files, {size} bytes",
    ),
}
