# SPDX-License-Identifier: GPL-3.0-or-later
"""Odd sources drawn from a seed, and from nothing else: a format, faults that go with it, and kills or rotations."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from tests.odd.cases import CODECS, GAP, pieces, tagged
from tests.odd.change import behind_a_picture, counted_anew, shown_late
from tests.odd.clips import Spec, ensure_clip
from tests.odd.show import FOREVER, Down, Manner, Piece, Track
from tests.odd.tables import with_data, with_program
from tests.odd.take import Step, Take

SECONDS: Final = (60, 80)
WINDOW: Final = (6, 30)
"""Media segments of two seconds each."""
QUIET: Final = (14, 20)
"""So many seconds at the beginning and at the end, nothing is done to a recording: it has to be there."""
DONE: Final = {
    False: (("kill", "KILL"), ("kill", "TERM"), ("rotate", "")),
    # what streamlink misses of DASH while it is away, it cannot fetch afterwards
    True: (("rotate", ""),),
}
REFUSED: Final = 1 / 25
"""The share of sources that nobody can record."""
Random = random.Random


@dataclass(slots=True)
class Draft:
    """A source in the making; `form` is what it is made of, and decides which faults it can have."""

    form: str
    spec: Spec
    tracks: dict[str, list[Piece]]
    manner: dict[str, Any] = field(default_factory=dict)
    downs: dict[str, tuple[Down, ...]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    settings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    is_flawed: bool = False

    @property
    def main(self) -> list[Piece]:
        return next(iter(self.tracks.values()))

    @property
    def window(self) -> int:
        count: int = self.manner["window"]
        return count

    def change(self, numbers: range, **changes: Any) -> None:
        """Some media segments of all tracks."""
        for some in self.tracks.values():
            for number in numbers:
                some[number] = replace(some[number], **changes)

    def somewhere(self, rng: Random, count: int) -> range:
        """So many media segments in the middle."""
        end = len(self.main) - count - 8
        first = rng.randrange(min(self.window // 2 + 4, end - 1), end)
        return range(first, first + count)


# --- forms ---------------------------------------------------------------------------------------------------------


def _whole(kind: str, **changes: Any) -> Callable[[Spec], dict[str, list[Piece]]]:
    return lambda spec: {"main": pieces(ensure_clip(replace(spec, kind=kind, **changes)))}


def _apart(kind: str, **changes: Any) -> Callable[[Spec], dict[str, list[Piece]]]:
    return lambda spec: {
        track: pieces(ensure_clip(replace(spec, kind=kind, tracks=track, **changes))) for track in "va"
    }


def _modern(name: str) -> Callable[[Spec], dict[str, list[Piece]]]:
    return _apart("fmp4", codec=CODECS[name][0], sound=CODECS[name][1])


FORMS: Final[Mapping[str, tuple[int, Callable[[Spec], dict[str, list[Piece]]]]]] = {
    # name: (weight, how it is made)
    "ts": (8, _whole("ts")),
    "fmp4": (6, _whole("fmp4")),
    "ts-apart": (3, _apart("ts")),
    "fmp4-apart": (3, _apart("fmp4")),
    "dash": (2, _apart("fmp4")),
    "aes": (2, _whole("ts")),
    "sound": (1, _whole("ts", tracks="a")),
    "still": (1, _whole("ts", rate="1/2")),
    **{name: (1, _modern(name)) for name in CODECS},
}
HLS: Final = tuple(form for form in FORMS if form != "dash")
PLAIN_TS: Final = ("ts", "aes", "still")


# --- faults --------------------------------------------------------------------------------------------------------


def _some(numbers: range) -> str:
    return str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]}-{numbers[-1]}"


def _missing(rng: Random, draft: Draft) -> str:
    numbers = draft.somewhere(rng, rng.randint(1, 3))
    draft.change(numbers, status=404, until=FOREVER)
    return f"{_some(numbers)} stay 404"


def _slow(rng: Random, draft: Draft) -> str:
    numbers, seconds = draft.somewhere(rng, 1), rng.uniform(2.0, draft.window)
    draft.change(numbers, status=404, until=round(seconds, 1))
    return f"{_some(numbers)} is 404 for {seconds:.1f} s"


def _gap(rng: Random, draft: Draft) -> str:
    numbers = draft.somewhere(rng, rng.randint(2, 8))
    draft.change(numbers, tags=GAP, status=404, until=FOREVER)
    return f"{_some(numbers)} are gaps"


def _page(rng: Random, draft: Draft) -> str:
    numbers = draft.somewhere(rng, rng.randint(1, 2))
    draft.change(numbers, status=200, until=FOREVER)
    draft.is_flawed = True
    return f"{_some(numbers)} are pages of HTML"


def _down(rng: Random, draft: Draft) -> str:
    track = rng.choice(list(draft.tracks))
    since, seconds = rng.uniform(12, 25), rng.uniform(3, draft.window * 1.2)
    draft.downs[track] = (Down(round(since, 1), round(since + seconds, 1), rng.choice((403, 404, 500, 502))),)
    return f"the playlist {track} answers {draft.downs[track][0].status} for {seconds:.1f} s"


def _away(rng: Random, draft: Draft) -> str:
    since, seconds = rng.uniform(12, 25), rng.uniform(2, draft.window)
    draft.steps.append(Step(round(since, 1), "away", "", round(seconds, 1)))
    return f"nothing is answered for {seconds:.1f} s"


def _token(rng: Random, draft: Draft) -> str:
    draft.manner["token"] = float(rng.randint(18, 35))
    return f"links are good for {draft.manner['token']:.0f} s"


def _zero(rng: Random, draft: Draft) -> str:
    draft.manner["zero"] = True
    return "the sequence number stays 0"


def _second(rng: Random, draft: Draft, clock: int) -> int:
    """From some media segment on, another encoder."""
    at = draft.somewhere(rng, 1).start
    for name, some in draft.tracks.items():
        spec = replace(some[0].clip.spec, look=2, clock=clock)
        draft.tracks[name] = [*some[:at], *pieces(ensure_clip(spec), range(len(some) - at))]
    return at


def _anew(rng: Random, draft: Draft) -> str:
    at = _second(rng, draft, 0 if draft.spec.clock else 3600)
    draft.manner["restarts"] = (at,)
    draft.is_flawed = True
    return f"the packager begins anew at {at}"


def _jump(rng: Random, draft: Draft) -> str:
    clock = rng.choice((0, 1800, 7200, 40000))
    at = _second(rng, draft, clock)
    for name, some in draft.tracks.items():
        draft.tracks[name] = [*some[:at], *tagged(some[at:])]
    # ffmpeg, which muxes them for streamlink, cannot set a clock back
    draft.is_flawed |= draft.form in APART
    return f"from {at} on the clock is at {clock} s"


def _map(rng: Random, draft: Draft) -> str:
    at = draft.somewhere(rng, 1).start
    for name, some in draft.tracks.items():
        spec = replace(some[0].clip.spec, look=2, size="192x108", clock=draft.spec.clock + 2 * at)
        draft.tracks[name] = [*some[:at], *pieces(ensure_clip(spec), range(len(some) - at))]
    return f"from {at} on another initialisation"


def _ads(rng: Random, draft: Draft) -> str:
    at, count = draft.somewhere(rng, 1).start, rng.randint(2, 6)
    for name, some in draft.tracks.items():
        ad = tagged(pieces(ensure_clip(replace(some[0].clip.spec, seconds=12, clock=10, look=3)), range(count)))
        draft.tracks[name] = [*some[:at], *ad, *tagged(some[at:])]
    return f"{count} advertisements at {at}"


def _slate(rng: Random, draft: Draft) -> str:
    at, count = draft.somewhere(rng, 1).start, rng.randint(3, 8)
    for name, some in draft.tracks.items():
        same = tagged(pieces(ensure_clip(replace(some[0].clip.spec, seconds=6, clock=10, look=4))))
        draft.tracks[name] = [*some[:at], *same * count, *tagged(some[at:])]
    return f"the same slate {count} times at {at}"


def _late(rng: Random, draft: Draft) -> str:
    some = pieces(ensure_clip(replace(draft.main[0].clip.spec, b_frames=2)))
    number = draft.somewhere(rng, 1).start
    some[number] = replace(some[number], change=shown_late(rng.randrange(10), rng.choice((1.0, 2.5, 6.0))))
    draft.tracks["main"] = some
    draft.is_flawed = True
    return f"a PTS in {number} is hours ahead"


def _counters(rng: Random, draft: Draft) -> str:
    draft.change(range(len(draft.main)), change=counted_anew)
    return "counters begin anew"


def _png(rng: Random, draft: Draft) -> str:
    draft.change(range(len(draft.main)), change=behind_a_picture)
    draft.is_flawed = True
    return "PNG before media"


def _data(rng: Random, draft: Draft) -> str:
    for number, piece in enumerate(draft.main):
        draft.main[number] = replace(piece, change=with_data(number))
    return "cues and tags"


def _programs(rng: Random, draft: Draft) -> str:
    other = ensure_clip(replace(draft.main[0].clip.spec, tracks="a", look=5))
    for number, piece in enumerate(draft.main):
        body = other.path(piece.index).read_bytes()
        draft.main[number] = replace(piece, change=with_program(body), other=other)
    return "two programs"


def _lies(rng: Random, draft: Draft) -> str:
    for number in range(len(draft.main)):
        draft.change(range(number, number + 1), seconds=round(2 * rng.uniform(0.6, 1.4), 3))
    return "the lengths that are told are wrong"


def _manner(word: str, text: str) -> Callable[[Random, Draft], str]:
    def change(rng: Random, draft: Draft) -> str:
        draft.manner[word] = True
        return text

    return change


@dataclass(frozen=True, slots=True)
class Fault:
    """`forms`: what can have it, all when empty; `group`: of which a source has one at most."""

    apply: Callable[[Random, Draft], str]
    weight: int
    group: str = ""
    forms: tuple[str, ...] = ()


APART: Final = ("ts-apart", "fmp4-apart", *CODECS)
FAULTS: Final[Mapping[str, Fault]] = {
    "missing": Fault(_missing, 3, "segments"),
    "slow": Fault(_slow, 2, "segments", HLS),
    "gap": Fault(_gap, 2, "segments", HLS),
    "page": Fault(_page, 1, "segments", ("ts", "fmp4")),
    "down": Fault(_down, 4, "playlist", APART),
    "away": Fault(_away, 2, "playlist", HLS),
    "token": Fault(_token, 3, "playlist", ("ts", "fmp4", "ts-apart", "fmp4-apart")),
    "zero": Fault(_zero, 2, "numbers", ("ts", "fmp4", "sound")),
    "anew": Fault(_anew, 2, "media", ("ts", "fmp4")),
    "jump": Fault(_jump, 3, "media", ("ts", "fmp4", "ts-apart", "fmp4-apart", "aes")),
    "map": Fault(_map, 2, "media", ("fmp4",)),
    "ads": Fault(_ads, 3, "media", ("ts", "fmp4", "aes")),
    "slate": Fault(_slate, 3, "media", ("ts", "fmp4")),
    "late": Fault(_late, 1, "media", ("ts",)),
    "counters": Fault(_counters, 1, "bytes", PLAIN_TS),
    "png": Fault(_png, 1, "bytes", ("ts",)),
    "data": Fault(_data, 2, "bytes", ("ts", "aes")),
    "programs": Fault(_programs, 1, "bytes", ("ts",)),
    "lies": Fault(_lies, 2, "lengths", HLS),
    "zipped": Fault(_manner("zipped", "gzip"), 1),
    "moved": Fault(_manner("moved", "redirects"), 1, "playlist"),
    "six": Fault(_manner("six", "IPv6"), 1),
    "ranges": Fault(_manner("ranges", "byte ranges"), 1, "ranges", ("ts", "fmp4")),
    "parts": Fault(_manner("parts", "parts of low latency"), 1, "ranges", ("ts", "fmp4")),
    "endlist": Fault(_manner("endlist", "an end that is told"), 2, "end", HLS),
}


# --- a campaign ----------------------------------------------------------------------------------------------------


def draw(seed: int, count: int) -> list[Take]:
    """Equal arguments give equal takes; of the same seed the first ones are the same whatever the count."""
    return [draw_one(seed, number) for number in range(count)]


def draw_one(seed: int, number: int) -> Take:
    """The one of this number among those of a seed."""
    return _take(Random(f"{seed}-{number}"), f"odd-{seed}-{number}")


def _take(rng: Random, name: str) -> Take:
    if rng.random() < REFUSED:
        some = pieces(ensure_clip(Spec(seconds=60)))
        manner = Manner(key="SAMPLE-AES")
        return Take(name=name, tracks=(Track("main", tuple(some)),), manner=manner, is_refused=True, faults=("DRM",))
    form = rng.choices(list(FORMS), [weight for weight, _ in FORMS.values()])[0]
    spec = Spec(seconds=rng.choice(SECONDS), clock=rng.choice((0, 0, 5000)))
    draft = Draft(form, spec, FORMS[form][1](spec))
    window = rng.randint(*WINDOW)
    draft.manner |= {"window": window, "ahead": rng.randint(3, min(10, window))}
    draft.manner |= {"key": "AES-128"} if form == "aes" else {}
    draft.manner |= {"codecs": CODECS[form][2]} if form in CODECS else {}
    draft.manner |= {"dash": True} if form == "dash" else {}
    _add_faults(rng, draft)
    _add_steps(rng, draft)
    if form in ("ts", "aes") and rng.random() < 0.25:
        draft.settings = {"recording": {"container": "mp4"}}
    return _finished(draft, name)


def _add_faults(rng: Random, draft: Draft) -> None:
    can = {name: fault for name, fault in FAULTS.items() if not fault.forms or draft.form in fault.forms}
    taken: set[str] = set()
    for _ in range(rng.choices((1, 2, 3), (3, 4, 2))[0]):
        left = [name for name, fault in can.items() if name not in taken and fault.group not in taken]
        if not left:
            return
        name = rng.choices(left, [can[name].weight for name in left])[0]
        taken |= {name, can[name].group} - {""}
        draft.faults.append(can[name].apply(rng, draft))


def _add_steps(rng: Random, draft: Draft) -> None:
    length = sum(piece.real for piece in draft.main[draft.manner["ahead"] :])
    for _ in range(rng.choices((0, 1, 2), (3, 4, 2))[0]):
        at = round(rng.uniform(QUIET[0], length - QUIET[1]), 1)
        draft.steps.append(Step(at, *rng.choice(DONE[draft.form == "dash"])))
    draft.steps.sort(key=lambda step: step.at)


def _finished(draft: Draft, name: str) -> Take:
    tracks = tuple(Track(word, tuple(some), draft.downs.get(word, ())) for word, some in draft.tracks.items())
    manner = Manner(**draft.manner)
    told = f"{draft.form}, window {manner.window}, {manner.ahead} ahead, {len(draft.main)} segments"
    return Take(
        name=name,
        tracks=tracks,
        manner=manner,
        steps=tuple(draft.steps),
        settings=draft.settings,
        is_flawed=draft.is_flawed,
        faults=(told, *draft.faults),
    )
