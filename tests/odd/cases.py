# SPDX-License-Identifier: GPL-3.0-or-later
"""Named broadcasts with one fault that people met, each in the formats and with the kills that matter for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Final

from tests.odd.change import behind_a_picture, counted_anew, shown_late, stuffed, without_pictures
from tests.odd.clips import Clip, Spec, ensure_clip
from tests.odd.show import FOREVER, Down, Manner, Piece, Track
from tests.odd.take import Step, Take

BASE: Final = Spec(seconds=100)
BREAK: Final = ("#EXT-X-DISCONTINUITY",)
GAP: Final = ("#EXT-X-GAP",)
MP4: Final = {"recording": {"container": "mp4"}}
CASES: Final[dict[str, Callable[[], Take]]] = {}
"""By name; what is not asked for is not made."""

KILL: Final = Step(18, "kill")
ROTATE: Final = Step(14, "rotate")
STEPS: Final[Mapping[str, tuple[Step, ...]]] = {"": (), "-kill": (KILL,), "-rotate": (ROTATE,)}


def case(name: str, make: Callable[[], Take]) -> None:
    """Register it."""
    CASES[name] = lambda: replace(make(), name=name)


def pieces(clip: Clip, numbers: Iterable[int] | None = None) -> list[Piece]:
    """Media segments as they are."""
    return [Piece(clip=clip, index=index) for index in (range(clip.count) if numbers is None else numbers)]


def tagged(some: list[Piece], tags: tuple[str, ...] = BREAK) -> list[Piece]:
    """With tags before the first of them."""
    return [replace(some[0], tags=tags), *some[1:]]


def one(some: Iterable[Piece]) -> tuple[Track, ...]:
    """The only track."""
    return (Track("main", tuple(some)),)


# --- what is not there ---------------------------------------------------------------------------------------------


def missing(kind: str, steps: tuple[Step, ...], numbers: tuple[int, ...] = (14, 15)) -> Take:
    """Two media segments never reach the CDN."""
    some = pieces(ensure_clip(replace(BASE, kind=kind)))
    for number in numbers:
        some[number] = replace(some[number], status=404, until=FOREVER)
    return Take(name="", tracks=one(some), manner=Manner(window=15), steps=steps, faults=("segments stay 404",))


def gap(kind: str, steps: tuple[Step, ...]) -> Take:
    """Eight are marked as missing."""
    some = pieces(ensure_clip(replace(BASE, seconds=80, kind=kind)))
    for number in range(12, 20):
        some[number] = replace(some[number], tags=GAP, status=404, until=FOREVER)
    return Take(name="", tracks=one(some), steps=steps, faults=("EXT-X-GAP",))


def pages(kind: str) -> Take:
    """Errors with status 200 instead of media."""
    some = pieces(ensure_clip(replace(BASE, seconds=60, kind=kind)))
    for number in (12, 13):
        some[number] = replace(some[number], status=200, until=FOREVER)
    return Take(name="", tracks=one(some), is_flawed=True, faults=("error pages with status 200",))


def back(kind: str, which: str, steps: tuple[Step, ...]) -> Take:
    """The playlist of the sound, or of the pictures, is 404 for 30 s."""
    downs = (Down(15, 45),)
    tracks = tuple(
        Track(name, tuple(pieces(ensure_clip(replace(BASE, kind=kind, tracks=name)))), downs if name == which else ())
        for name in "va"
    )
    return Take(
        name="",
        tracks=tracks,
        manner=Manner(window=20),
        steps=steps,
        faults=(f"the playlist of {which} is away",),
    )


def expiring(kind: str, window: int, steps: tuple[Step, ...]) -> Take:
    """Links that are good for 25 s."""
    some = pieces(ensure_clip(replace(BASE, seconds=80, kind=kind)))
    manner = Manner(window=window, token=25.0)
    return Take(name="", tracks=one(some), manner=manner, steps=steps, faults=("the token expires",))


for _kind in ("ts", "fmp4"):
    for _word, _steps in STEPS.items():
        case(f"missing-{_kind}{_word}", partial(missing, _kind, _steps))
        case(f"gap-{_kind}{_word}", partial(gap, _kind, _steps))
        case(f"audioback-{_kind}{_word}", partial(back, _kind, "a", _steps))
        case(f"videoback-{_kind}{_word}", partial(back, _kind, "v", _steps))
        case(f"token-{_kind}{_word}", partial(expiring, _kind, 15, _steps))
        case(f"token-short-{_kind}{_word}", partial(expiring, _kind, 6, _steps))
    case(f"missing-one-{_kind}", partial(missing, _kind, (), (12,)))
    case(f"pages-{_kind}", partial(pages, _kind))


# --- what is counted wrongly ---------------------------------------------------------------------------------------


def zero(kind: str, steps: tuple[Step, ...]) -> Take:
    """EXT-X-MEDIA-SEQUENCE stays 0."""
    some = pieces(ensure_clip(replace(BASE, kind=kind)))
    manner = Manner(window=15, ahead=15, zero=True)
    return Take(name="", tracks=one(some), manner=manner, steps=steps, faults=("the sequence number stays 0",))


def anew(kind: str, steps: tuple[Step, ...]) -> Take:
    """The packager counts from 0 again, with another clock, and no word of it."""
    first = pieces(ensure_clip(replace(BASE, seconds=40, kind=kind, clock=5000)))
    second = pieces(ensure_clip(replace(BASE, seconds=40, kind=kind, look=2)))
    manner = Manner(window=8, ahead=5, restarts=(len(first),))
    return Take(
        name="",
        tracks=one(first + second),
        manner=manner,
        steps=steps,
        is_flawed=True,
        faults=("the sequence number begins anew",),
    )


def anew_counters(steps: tuple[Step, ...]) -> Take:
    """Each media segment comes from a muxer of its own."""
    some = [replace(piece, change=counted_anew) for piece in pieces(ensure_clip(replace(BASE, seconds=60)))]
    return Take(name="", tracks=one(some), steps=steps, faults=("counters begin anew",))


for _kind in ("ts", "fmp4"):
    for _word, _steps in STEPS.items():
        case(f"seqzero-{_kind}{_word}", partial(zero, _kind, _steps))
        case(f"seqreset-{_kind}{_word}", partial(anew, _kind, _steps))
for _word, _steps in STEPS.items():
    case(f"counters{_word}", partial(anew_counters, _steps))


# --- clocks --------------------------------------------------------------------------------------------------------


def jump(kind: str, settings: Mapping[str, Mapping[str, str]], steps: tuple[Step, ...] = ()) -> Take:
    """The encoder begins anew, two hours ahead."""
    first = pieces(ensure_clip(replace(BASE, seconds=40, kind=kind)))
    second = pieces(ensure_clip(replace(BASE, seconds=40, kind=kind, look=2, clock=7200)))
    tracks = one(first + tagged(second))
    return Take(name="", tracks=tracks, settings=settings, steps=steps, faults=("the clock jumps ahead",))


def late(settings: Mapping[str, Mapping[str, str]]) -> Take:
    """Two pictures are to be shown hours after their neighbours."""
    some = pieces(ensure_clip(replace(BASE, seconds=60, b_frames=2)))
    for number, nth in ((10, 4), (16, 2)):
        some[number] = replace(some[number], change=shown_late(nth, 2.5))
    return Take(name="", tracks=one(some), settings=settings, is_flawed=True, faults=("two PTS are hours ahead",))


def stitched(kind: str, settings: Mapping[str, Mapping[str, str]], steps: tuple[Step, ...] = ()) -> Take:
    """Advertisements with a clock of their own."""
    content = ensure_clip(replace(BASE, seconds=60, kind=kind, clock=9000))
    ad = tagged(pieces(ensure_clip(Spec(seconds=12, kind=kind, clock=10, look=3))))
    some = [*pieces(content, range(10)), *ad, *tagged(pieces(content, range(10, content.count)))]
    manner = Manner(ahead=5)
    return Take(name="", tracks=one(some), manner=manner, settings=settings, steps=steps, faults=("stitched ads",))


def slate(kind: str, steps: tuple[Step, ...], window: int) -> Take:
    """ "We will be right back": the same bytes again and again."""
    content = ensure_clip(replace(BASE, seconds=40, kind=kind))
    same = ensure_clip(Spec(seconds=6, kind=kind, clock=10, look=4))
    some = pieces(content, range(10))
    for _ in range(10):
        some += tagged(pieces(same))
    some += tagged(pieces(content, range(10, 20)))
    manner = Manner(window=window, ahead=5)
    return Take(name="", tracks=one(some), manner=manner, steps=steps, faults=("the same slate again and again",))


for _kind in ("ts", "fmp4"):
    case(f"jump-{_kind}", partial(jump, _kind, {}))
    case(f"jump-{_kind}-kill", partial(jump, _kind, {}, (Step(34, "kill"),)))
    case(f"ssai-{_kind}", partial(stitched, _kind, {}))
    case(f"ssai-{_kind}-rotate", partial(stitched, _kind, {}, (Step(22, "rotate"),)))
    case(f"slate-{_kind}-kill", partial(slate, _kind, (Step(32, "kill"),), 8))
    case(f"slate-{_kind}-rotate", partial(slate, _kind, (Step(32, "rotate"),), 8))
    case(f"slate-{_kind}-away", partial(slate, _kind, (Step(32, "away", "", 15), Step(32.5, "kill")), 5))
case("jump-mp4", partial(jump, "ts", MP4))
case("ssai-mp4", partial(stitched, "ts", MP4))
case("ptsoutlier-ts", partial(late, {}))
case("ptsoutlier-mp4", partial(late, MP4))


# --- formats -------------------------------------------------------------------------------------------------------

CODECS: Final = {
    "av1": ("av1", "aac", "av01.0.04M.08,mp4a.40.2"),
    "vp9": ("vp9", "opus", "vp09.00.10.08,opus"),
    "hevc": ("hevc", "aac", "hvc1.1.6.L60.90,mp4a.40.2"),
    "opus": ("h264", "opus", "avc1.42c00b,opus"),
}


def modern(name: str, settings: Mapping[str, Mapping[str, str]], steps: tuple[Step, ...]) -> Take:
    """Fragmented MP4 with the sound in a playlist of its own."""
    codec, sound, codecs = CODECS[name]
    spec = replace(BASE, seconds=60, kind="fmp4", codec=codec, sound=sound)
    tracks = tuple(Track(track, tuple(pieces(ensure_clip(replace(spec, tracks=track))))) for track in "va")
    return Take(
        name="",
        tracks=tracks,
        manner=Manner(codecs=codecs),
        settings=settings,
        steps=steps,
        faults=(f"{codec} and {sound}",),
    )


def junk(steps: tuple[Step, ...]) -> Take:
    """A picture comes before each media segment."""
    some = [replace(piece, change=behind_a_picture) for piece in pieces(ensure_clip(replace(BASE, seconds=80)))]
    return Take(name="", tracks=one(some), steps=steps, is_flawed=True, faults=("PNG before media",))


def still(kind: str) -> Take:
    """One picture in four seconds."""
    some = pieces(ensure_clip(Spec(seconds=100, segment=4, rate="1/4", kind=kind)))
    steps = (Step(20, "rotate"), Step(40, "kill"))
    return Take(name="", tracks=one(some), manner=Manner(window=8, ahead=4), steps=steps, faults=("a still picture",))


def changed(kind: str, steps: tuple[Step, ...]) -> Take:
    """Another initialisation, and no discontinuity."""
    first = pieces(ensure_clip(replace(BASE, seconds=30, kind=kind)))
    second = pieces(ensure_clip(replace(BASE, seconds=30, kind=kind, size="192x108", look=2, clock=30)))
    return Take(name="", tracks=one(first + second), steps=steps, faults=("the initialisation changes",))


for _name in CODECS:
    for _word, _steps in STEPS.items():
        case(f"{_name}{_word}", partial(modern, _name, {}, _steps))
    case(f"{_name}-mp4", partial(modern, _name, MP4, (ROTATE,)))
for _word, _steps in STEPS.items():
    case(f"png{_word}", partial(junk, _steps))
    case(f"map{_word}", partial(changed, "fmp4", _steps))
for _kind in ("ts", "fmp4"):
    case(f"lowfps-{_kind}", partial(still, _kind))


# --- what is kept --------------------------------------------------------------------------------------------------


def camera_off(kind: str, settings: Mapping[str, str]) -> Take:
    """20 s of pictures, 100 s of sound, and a shortest length of 60 s."""
    if kind == "ts":
        some = pieces(ensure_clip(BASE))
        some[10:] = [replace(piece, change=without_pictures, lacks="v") for piece in some[10:]]
    else:
        some = pieces(ensure_clip(replace(BASE, kind=kind, pictures=20)))
    policy = {"recording": {"min_duration": "60s", **settings}}
    return Take(name="", tracks=one(some), settings=policy, faults=("the pictures end before the sound",))


def camera_back(kind: str) -> Take:
    """Pictures stay away for 40 s, and nothing says so."""
    some = [
        replace(piece, change=without_pictures, lacks="v") if 12 <= piece.index < 32 else piece
        for piece in pieces(ensure_clip(replace(BASE, kind=kind)))
    ]
    return Take(
        name="",
        tracks=one(some),
        is_flawed=True,
        told=("stream-still",),
        faults=("the pictures stay away for 40 s",),
    )


def by_hand(what: str) -> Take:
    """The user takes the file away while it is written."""
    steps = (Step(12, what), *((Step(24, "rotate"),) if what == "remove" else ()))
    return Take(name="", tracks=one(pieces(ensure_clip(replace(BASE, seconds=60)))), steps=steps, faults=(what,))


def wide(how: str) -> Take:
    """A window of more than a gigabyte, of which no more is there than streamlink reaches back."""
    some = [replace(piece, change=stuffed(12_000_000)) for piece in pieces(ensure_clip(replace(BASE, seconds=260)))]
    manner = Manner(window=1000, ahead=99)
    # what comes after it is read when most of what was there is fetched, and the broadcast goes on for 50 s
    return Take(name="", tracks=one(some), manner=manner, steps=(Step(15, how),), faults=("a window of 1.2 GB",))


case("mindur-ts", partial(camera_off, "ts", {}))
case("mindur-fmp4", partial(camera_off, "fmp4", {}))
case("mindur-mp4", partial(camera_off, "ts", {"container": "mp4"}))
case("camera-ts", partial(camera_back, "ts"))
case("user-removes", partial(by_hand, "remove"))
case("user-moves", partial(by_hand, "move"))
case("dvr-kill", partial(wide, "kill"))
case("dvr-rotate", partial(wide, "rotate"))
