# SPDX-License-Identifier: GPL-3.0-or-later
"""The account of a recording: what could be had, what is in the result, and whether the words are true. Pure."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.odd.look import NAMES, Looked
from tests.odd.show import Show
from tests.odd.take import Take
from tests.testbed.recorder import Seam

SLACK_MS: Final = 2000.0
"""A length may be told wrong by this much: the last sound packets, and where the clock began."""
STILL: Final = "the clock stands still"
"""What verify tells of media that are all there, and have no time of their own."""

SHORT_MS: Final = 500.0
"""A gap that is shorter may come of what a source's clock has between two media segments."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that is known of one recording. `beside`: by client, the files that others made of the same broadcast."""

    take: Take
    show: Show
    state: str
    why: str = ""
    deaths: int = 0
    segments: int = 0
    parts: Sequence[str] = ()
    told_ms: float | None = None
    notes: Sequence[str] = ()
    told: Sequence[str] = ()
    """kinds of its events"""
    seams: Sequence[Seam] = ()
    verdict: str = ""
    problems: Sequence[str] = ()
    looked: Sequence[Looked] = ()
    beside: Mapping[str, Sequence[Looked]] = field(default_factory=dict)


@dataclass(slots=True)
class Count:
    """Of one kind of media."""

    offered: int = 0
    found: int = 0
    lost: int = 0
    repeated: int = 0
    foreign: int = 0
    disordered: int = 0
    places: list[int] = field(default_factory=list)
    """the media segments in which something is lost"""


@dataclass(slots=True)
class Account:
    """Of one recording; `complaints` say in words what must not be."""

    name: str
    faults: tuple[str, ...] = ()
    state: str = ""
    segments: int = 0
    parts: list[str] = field(default_factory=list)
    counts: dict[str, Count] = field(default_factory=dict)
    seams: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    verdict: str = ""
    told_ms: float | None = None
    real_ms: float = 0.0
    beside: dict[str, dict[str, int]] = field(default_factory=dict)
    """by client, how much of what the perfect client had it lacks, by kind"""
    complaints: list[str] = field(default_factory=list)


def draw_up(facts: Facts) -> Account:
    """The account of one recording."""
    take, show = facts.take, facts.show
    account = Account(take.name, take.faults, facts.state, facts.segments, list(facts.parts))
    account.seams, account.notes = [str(seam) for seam in facts.seams], list(facts.notes)
    account.verdict, account.told_ms = facts.verdict, facts.told_ms
    if take.is_refused:
        account.complaints += _accepted(facts)
        return account
    if facts.why:
        account.complaints.append(facts.why)
    if take.is_steady and facts.segments > 1:
        account.complaints.append(f"{facts.segments} runs were made of a steady source")
    account.complaints += [f"nobody was told of '{kind}'" for kind in take.told if kind not in facts.told]
    if facts.state != "completed":
        account.complaints.append(f"it is {facts.state}")
    if not show.sent.get(""):
        account.complaints.append("no media segment was asked for")
        return account
    had = show.had_by("")
    for kind in show.kinds:
        account.counts[kind] = count(show, kind, had, facts.looked)
        account.complaints += _missed(kind, account.counts[kind])
    for client, looked in facts.beside.items():
        account.beside[client] = {kind: count(show, kind, had, looked).lost for kind in show.kinds}
        account.complaints += _worse(facts, client, looked, had)
    account.real_ms = 1000 * presented(show, facts.looked)
    account.complaints += [*_false_seams(facts, account, had), *_false_verdict(facts, account, had)]
    account.complaints += _false_length(facts, account, had)
    return account


def count(show: Show, kind: str, had: Mapping[str, set[int]], looked: Sequence[Looked]) -> Count:
    """What the files have of a kind, against what could have been had."""
    wanted, every, order = show.digests(kind, had), show.digests(kind), show.order(kind)
    digests = [digest for file in looked for digest in file.digests[kind]]
    found = Counter(digests)
    lost = wanted - found
    places = [order[digest] for digest in digests if digest in order]
    return Count(
        offered=wanted.total(),
        found=(wanted & found).total(),
        lost=lost.total(),
        repeated=sum(number for digest, number in (found - every).items() if digest in every),
        foreign=sum(number for digest, number in found.items() if digest not in every),
        disordered=sum(1 for before, after in itertools.pairwise(places) if after < before),
        places=sorted(_places(show, kind, had, lost)),
    )


def presented(show: Show, looked: Sequence[Looked]) -> float:
    """Seconds of media that the files have: each piece of the broadcast of which there is something."""
    found = Counter(digest for file in looked for kind in show.kinds for digest in file.digests[kind])
    seconds = 0.0
    for number, piece in enumerate(show.pieces):
        shares = [1.0 - (want - found).total() / want.total() for want in _wants(show, number) if want]
        seconds += piece.real * max(shares, default=0.0)
        for want in _wants(show, number):
            found -= want
    return seconds


def _wants(show: Show, number: int) -> Iterator[Counter[str]]:
    for kind in show.kinds:
        yield Counter(digest for track in show.tracks for digest in track.pieces[number].digests(kind))


def _places(show: Show, kind: str, had: Mapping[str, set[int]], lost: Counter[str]) -> set[int]:
    return {
        number
        for track in show.tracks
        for number in had[track.name]
        if any(digest in lost for digest in track.pieces[number].digests(kind))
    }


def _missed(kind: str, found: Count) -> Iterator[str]:
    for what in ("lost", "repeated", "foreign", "disordered"):
        if number := getattr(found, what):
            where = f", in the media segments {_ranges(found.places)}" if what == "lost" else ""
            yield f"{NAMES[kind]}: {number} {what} of {found.offered}{where}"


def _ranges(numbers: Sequence[int]) -> str:
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def _accepted(facts: Facts) -> Iterator[str]:
    """What cannot be recorded must not be said to have been."""
    if facts.looked or facts.verdict == "sound":
        yield f"it was to be refused, and is {facts.state} with {list(facts.parts)} ({facts.verdict})"


def _worse(facts: Facts, client: str, looked: Sequence[Looked], had: Mapping[str, set[int]]) -> Iterator[str]:
    """Nobody who stands beside it may have what we have not."""
    for kind in facts.show.kinds:
        ours = Counter(digest for file in facts.looked for digest in file.digests[kind])
        theirs = Counter(digest for file in looked for digest in file.digests[kind])
        if more := ((theirs & facts.show.digests(kind, had)) - ours).total():
            yield f"{NAMES[kind]}: {client} has {more} that are lost here"


def _incomplete(show: Show, had: Mapping[str, set[int]]) -> bool:
    """Whether the source itself withheld something from everybody."""
    return any(len(had[track.name]) < len(track.pieces) - min(had[track.name], default=0) for track in show.tracks)


def _false_seams(facts: Facts, account: Account, had: Mapping[str, set[int]]) -> Iterator[str]:
    lost = sum(found.lost for found in account.counts.values())
    wrong = lost + sum(found.repeated for found in account.counts.values())
    whole = [seam for seam in facts.seams if seam.kind in ("exact", "union") and seam.certainty == "proven"]
    if wrong and whole and len(whole) == len(facts.seams):
        yield f"all seams are said to be whole and proven: {', '.join(map(str, whole))}"
    for seam in facts.seams:
        if seam.kind == "gap" and (seam.gap_ms or 0.0) > SHORT_MS and not lost and not _incomplete(facts.show, had):
            yield f"nothing is missing at the seam {seam}"
        if seam.kind == "gap" and lost and seam.gap_ms == 0.0:
            yield f"the seam says that nothing is missing: {seam}"


def _false_verdict(facts: Facts, account: Account, had: Mapping[str, set[int]]) -> Iterator[str]:
    counts = account.counts.values()
    if facts.verdict == "sound" and any(found.foreign for found in counts):
        yield "damaged media are said to be sound"
    if facts.verdict == "sound" and any(found.offered and not found.found for found in counts):
        yield "a file without one of its streams is said to be sound"
    perfect = not any(found.lost or found.repeated or found.foreign or found.disordered for found in counts)
    if facts.verdict == "damaged" and perfect and not facts.take.is_flawed and not _incomplete(facts.show, had):
        yield f"sound media are said to be damaged: {'; '.join(facts.problems)}"


def _false_length(facts: Facts, account: Account, had: Mapping[str, set[int]]) -> Iterator[str]:
    """The media that are there, and perhaps what is missing between them."""
    numbers = [number for track in facts.show.tracks for number in had[track.name]]
    span = sum(piece.real for piece in facts.show.pieces[min(numbers) : max(numbers) + 1]) if numbers else 0.0
    most = max(account.real_ms, 1000 * span) + SLACK_MS
    seconds = [file.seconds for file in facts.looked if file.seconds is not None]
    in_files = 1000 * sum(seconds) if seconds and len(seconds) == len(facts.looked) else None
    for who, told in {"the daemon": facts.told_ms, "the file": in_files}.items():
        # where ffmpeg, which muxes for streamlink, has a clock stand still, that is what players show
        least = 0.0 if any(STILL in problem for problem in facts.problems) else account.real_ms - SLACK_MS
        if told is not None and not least <= told <= most:
            yield f"{who} says {told / 1000:.1f} s, and has {account.real_ms / 1000:.1f} s"
