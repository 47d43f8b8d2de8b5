# SPDX-License-Identifier: GPL-3.0-or-later
"""The account of a campaign: what was offered, recorded, lost and repeated, and what the seams say of it. Pure.

Nothing may be lost or repeated, unless the source was away for longer than its window: then exactly the media segments
that left it meanwhile may be, and the seam has to say how many milliseconds these are. A capture that was killed by
KILL may besides lack the end of the last media segment that it received, which was in the memory of its process.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from tests.fakes.media import FPS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.seams.plan import Take
    from tests.testbed.frames import FrameCount
    from tests.testbed.recorder import Seam

VIDEO: Final = "video"
FRAME_MS: Final = 1000 / FPS
CERTAINTIES: Final = ("proven", "likely", "unknown")


class Away(NamedTuple):
    """An outage beyond the window: the last media segment that was received before it and the first one after it.

    `has_left`: the one before that first one was out of the window when the replacement came.
    """

    last: int
    first: int
    has_left: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that is known of one recording. `starts`: by track, the number that each media segment begins with."""

    take: Take
    state: str
    why: str
    causes: Mapping[int, str]
    seams: tuple[Seam, ...]
    parts: int
    counts: Mapping[str, FrameCount]
    absences: tuple[Away, ...]
    starts: Mapping[str, tuple[int, ...]]


@dataclass(slots=True)
class Account:
    """Of one recording; `complaints` say in words what must not be."""

    name: str
    kind: str
    rotations: int = 0
    kills: int = 0
    segments: int = 0
    offered: int = 0
    recorded: int = 0
    lost: int = 0
    lost_away: int = 0
    torn: int = 0
    repeated: int = 0
    damaged: int = 0
    disordered: int = 0
    audio_lost: int = 0
    audio_wrong: int = 0
    exact: int = 0
    union: int = 0
    gap: int = 0
    other: int = 0
    gap_ms: float = 0.0
    certainty: str = "proven"
    parts: int = 0
    complaints: list[str] = field(default_factory=list)


def draw_up(facts: Facts) -> Account:
    """The account of one recording."""
    take = facts.take
    account = Account(take.name, take.kind, take.count("rotate"), take.count("kill") + take.count("away"))
    account.segments, account.parts = len(facts.causes), facts.parts
    if facts.state != "completed":
        account.complaints.append(f"it is {facts.state}")
    if facts.why:
        account.complaints.append(facts.why)
    account.complaints += [f"{gone} lost what could be fetched" for gone in facts.absences if not gone.has_left]
    for track, found in facts.counts.items():
        _count(account, facts, track, found)
    _weigh_seams(account, facts)
    if take.is_away and VIDEO in facts.counts:
        _compare_gaps(account, len(facts.counts[VIDEO].lost))
    return account


def _count(account: Account, facts: Facts, track: str, found: FrameCount) -> None:
    """What is in the result of a track, against what was offered."""
    starts = facts.starts[track]
    away = {number for gone in facts.absences for number in range(starts[gone.last + 1], starts[gone.first])}
    ends = {number for gone in facts.absences for number in range(starts[gone.last], starts[gone.last + 1])}
    lost = set(found.lost)
    torn, unexplained = lost & ends, lost - away - ends
    if track == VIDEO or VIDEO not in facts.counts:
        account.offered, account.recorded = found.expected, found.found
        account.lost, account.lost_away, account.torn = len(unexplained), len(lost & away), len(torn)
        account.repeated, account.damaged, account.disordered = found.repeated, found.foreign, found.disordered
    else:
        account.audio_lost, account.audio_wrong = len(unexplained), found.repeated + found.foreign + found.disordered
    allowed = len(torn) + len(facts.absences)
    wrong = {
        "lost": len(unexplained),
        "there though they had left the window": len(away - lost),
        "repeated": found.repeated,
        "damaged": max(0, found.foreign - allowed),
        "out of order": found.disordered,
    }
    account.complaints += [f"{track}: {count} {what}" for what, count in wrong.items() if count]
    if unexplained:
        places = sorted({bisect_right(starts, number) - 1 for number in unexplained})
        account.complaints.append(f"{track}: lost in the media segments {places}")
    if found.complaints and not facts.absences:
        account.complaints.append(
            f"{track}: the decoder says {found.complaints[0]!r} and {len(found.complaints)} more"
        )


def _weigh_seams(account: Account, facts: Facts) -> None:
    kinds = Counter(seam.kind for seam in facts.seams)
    account.exact, account.union, account.gap = kinds["exact"], kinds["union"], kinds["gap"]
    account.other = kinds.total() - account.exact - account.union - account.gap
    account.gap_ms = sum(seam.gap_ms or 0.0 for seam in facts.seams)
    account.certainty = max((seam.certainty for seam in facts.seams), key=CERTAINTIES.index, default="proven")
    for seam in facts.seams:
        if why := _objection(seam, facts):
            account.complaints.append(f"seam {seam.older}-{seam.newer} is {seam.kind} ({seam.certainty}): {why}")


def _objection(seam: Seam, facts: Facts) -> str:
    """What speaks against a seam; nothing may."""
    if facts.take.is_away and seam.kind == "gap":
        return "" if seam.gap_ms else "it does not say what is missing"
    if seam.kind == "break":
        return "" if facts.take.kind == "fmp4-change" else "the source never changed"
    if seam.method == "adjacent":  # after an absence as long as the window; the frames are counted
        return ""
    if seam.certainty != "proven" or seam.kind not in ("exact", "union"):
        return "the window held what is between them"
    if seam.kind != "exact" and facts.causes.get(seam.older) == "rotated":
        return "it was rotated"
    return ""


def _compare_gaps(account: Account, lost: int) -> None:
    """What the seams say is missing, against what is: to a frame for each gap, and those that are torn."""
    off = abs(account.gap_ms - lost * FRAME_MS)
    if off > FRAME_MS * (account.gap + account.damaged) + 1:
        account.complaints.append(f"the seams say {account.gap_ms:.1f} ms, {lost * FRAME_MS:.1f} ms are missing")
