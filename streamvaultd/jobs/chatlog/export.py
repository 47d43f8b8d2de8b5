# SPDX-License-Identifier: GPL-3.0-or-later
"""A captured chat in another format, beside its picture; what streamvaultctl calls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from streamvaultd.jobs.chatlog.formats import FORMATS, ChatLabels
from streamvaultd.jobs.chatlog.reading import READ_ERRORS, ChatTally, Reader, Timing
from streamvaultd.media.chapters import OnAir

NAMES: Final = tuple(FORMATS)
ERRORS: Final = READ_ERRORS


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """`on_air` has (ms into the part, ms since 1970, ms) for each of its stretches; `delay` in ms.

    `with_removed`: also what moderators have removed.
    """

    path: Path
    form: str
    on_air: Sequence[tuple[float, float, float]]
    delay: float
    streamer: str
    recording: int
    channel: str
    title: str
    with_removed: bool = False


def export(wanted: Wanted) -> tuple[Iterator[str], ChatTally]:
    """Pieces of the text, and what becomes of the messages, which is known when all pieces are taken.

    Raises one of ERRORS, with the first piece or later.
    """
    stretches = [OnAir(*each) for each in wanted.on_air]
    reader = Reader(wanted.path, Timing(stretches, wanted.delay), with_removed=wanted.with_removed)
    last = stretches[-1]
    facts = ChatLabels(
        streamer=wanted.streamer, channel=wanted.channel, recording=wanted.recording, title=wanted.title,
        began=round(stretches[0].began * 1000), length=last.at + last.length,
    )  # fmt: skip
    return FORMATS[wanted.form](reader.messages(), facts), reader.tally
