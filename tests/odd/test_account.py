# SPDX-License-Identifier: GPL-3.0-or-later
"""The perfect client, and the account against it: pure, on media that are digests only."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.odd.account import Account, Facts, draw_up
from tests.odd.clips import Clip, Spec
from tests.odd.draw import SECONDS, WINDOW, Draft, Random
from tests.odd.look import Looked
from tests.odd.show import FOREVER, Down, Manner, Piece, Request, Show, Track
from tests.odd.take import Take
from tests.testbed.recorder import Seam

COUNT = 20
FRAMES = 4
WHOLE = Seam(1, 2, "exact", "bytes", "proven", 0.0)


@pytest.fixture
def clip(tmp_path: Path) -> Clip:
    """Of 20 media segments of two seconds, each with four pictures and four packets of sound."""
    digests = {kind: [[f"{kind}{n}-{k}" for k in range(FRAMES)] for n in range(COUNT)] for kind in "va"}
    (tmp_path / "digests.json").write_text(json.dumps(digests))
    return Clip(tmp_path, Spec(seconds=2 * COUNT))


def track(clip: Clip, name: str = "main", downs: tuple[Down, ...] = (), **odd: Any) -> Track:
    """`odd`: of the media segments 10 and 11."""
    some = [Piece(clip=clip, index=index, **(odd if index in (10, 11) else {})) for index in range(COUNT)]
    return Track(name, tuple(some), downs)


def had(show: Show, since: float = 0.0) -> set[int]:
    return show.haveable(since)[show.tracks[0].name]


def holding(numbers: Callable[[str], list[int]]) -> Looked:
    """A file with these media segments of each kind."""
    return Looked({kind: [f"{kind}{n}-{k}" for n in numbers(kind) for k in range(FRAMES)] for kind in "va"})


def account(clip: Clip, numbers: Callable[[str], list[int]], of: Track | None = None, **facts: Any) -> Account:
    """Of a recording that began with the broadcast. Without other facts its words are as they should be."""
    take = Take(name="case", tracks=(of or track(clip),), manner=Manner(window=6, ahead=6))
    show = take.show()
    show.sent[""] = [Request(0.0, "main", 0, 200)]
    file = holding(numbers)
    file.seconds = 2.0 * len(numbers("v"))
    words = {"state": "completed", "told_ms": 1000 * file.seconds, "verdict": "sound", "parts": ["case.ts"]}
    return draw_up(Facts(take=take, show=show, looked=[file], **{**words, **facts}))


@pytest.mark.parametrize("window", WINDOW)
@pytest.mark.parametrize("count", [1, 8])
def test_a_fault_is_somewhere_in_the_middle_whatever_the_window(clip: Clip, window: int, count: int) -> None:
    pieces = list(track(clip).pieces) * 2
    draft = Draft("ts", clip.spec, {"main": pieces[: SECONDS[0] // 2]}, {"window": window})
    for seed in range(20):
        numbers = draft.somewhere(Random(str(seed)), count)
        assert (len(numbers), numbers.start > 3, numbers.stop <= len(draft.main) - 8) == (count, True, True)


def everything(kind: str) -> list[int]:
    return list(range(COUNT))


# --- the perfect client --------------------------------------------------------------------------------------------


def test_all_that_was_in_the_window_can_be_had(clip: Clip) -> None:
    assert had(Show("x", (track(clip),), Manner(window=5, ahead=6))) == set(range(1, COUNT))


def test_what_left_before_the_client_came_cannot(clip: Clip) -> None:
    assert had(Show("x", (track(clip),), Manner(window=5, ahead=6)), since=8.5) == set(range(5, COUNT))


def test_what_stays_away_cannot(clip: Clip) -> None:
    show = Show("x", (track(clip, status=404, until=FOREVER),), Manner(window=5, ahead=6))
    assert had(show) == set(range(1, COUNT)) - {10, 11}


def test_what_comes_before_it_leaves_can(clip: Clip) -> None:
    show = Show("x", (track(clip, status=404, until=9.0),), Manner(window=5, ahead=6))
    assert had(show) == set(range(1, COUNT))


def test_what_comes_when_it_has_left_cannot(clip: Clip) -> None:
    show = Show("x", (track(clip, status=404, until=17.0),), Manner(window=5, ahead=6))
    assert had(show) == set(range(1, COUNT)) - {10, 11}


def test_what_its_playlist_did_not_tell_cannot(clip: Clip) -> None:
    tracks = (track(clip, "v"), track(clip, "a", (Down(4, 24),)))
    found = Show("x", tracks, Manner(window=5, ahead=6)).haveable(0.0)
    assert found["v"] == set(range(1, COUNT))
    # until second 4 the newest is number 6, in second 24 the oldest is number 13
    assert found["a"] == {*range(1, 7), *range(13, COUNT)}


def test_an_absence_within_the_window_costs_nothing(clip: Clip) -> None:
    show = Show("x", (track(clip),), Manner(window=5, ahead=6))
    show.absences.append(Down(6, 14))
    assert had(show) == set(range(1, COUNT))
    show.absences.append(Down(6, 24))
    assert had(show) < set(range(1, COUNT))


def test_what_came_before_a_new_beginning_leaves_with_it(clip: Clip) -> None:
    show = Show("x", (track(clip),), Manner(window=8, ahead=6, restarts=(9,)))
    assert list(show.listed(5.0)) == list(range(8))
    assert list(show.listed(8.5)) == [9]


def test_where_a_client_has_to_begin_late_it_begins_there(clip: Clip) -> None:
    show = Show("x", (track(clip),), Manner(window=5, ahead=6, dash=True))
    show.sent[""] = [Request(0.0, "main", 4, 200), Request(0.1, "main", 3, 200)]
    assert show.had_by("")["main"] == set(range(3, COUNT))


# --- the count -----------------------------------------------------------------------------------------------------


def test_a_whole_recording_has_nothing_to_complain_of(clip: Clip) -> None:
    found = account(clip, everything, seams=[WHOLE])
    assert found.complaints == []
    assert found.counts["v"].offered == found.counts["v"].found == COUNT * FRAMES
    assert found.real_ms == 40_000


def test_one_kind_that_is_lost_is_a_loss(clip: Clip) -> None:
    found = account(clip, lambda kind: everything(kind) if kind == "v" else [*range(7), *range(9, COUNT)])
    assert found.complaints == ["audio: 8 lost of 80, in the media segments 7-8"]


def test_what_is_there_twice_is_repeated(clip: Clip) -> None:
    found = account(clip, lambda kind: [*range(12), *range(10, COUNT)])
    assert (found.counts["v"].repeated, found.counts["v"].lost) == (2 * FRAMES, 0)
    assert found.counts["v"].disordered == 1


def test_what_the_source_has_twice_may_be_there_twice(clip: Clip) -> None:
    some = track(clip)
    twice = Track("main", some.pieces[:10] + some.pieces[5:])
    numbers = [*range(10), *range(5, COUNT)]
    assert account(clip, lambda kind: numbers, twice).complaints == []
    assert account(clip, everything, twice).counts["a"].lost == 5 * FRAMES
    assert account(clip, lambda kind: [*numbers, 5], twice).counts["v"].repeated == FRAMES


def test_what_is_none_of_the_source_is_foreign(clip: Clip) -> None:
    found = account(clip, lambda kind: [*range(COUNT), 99])
    assert found.counts["v"].foreign == FRAMES
    assert "damaged media are said to be sound" in found.complaints


# --- the words -----------------------------------------------------------------------------------------------------


def test_a_seam_that_is_proven_while_something_is_lost_is_false(clip: Clip) -> None:
    found = account(clip, lambda kind: everything(kind)[:15], seams=[WHOLE])
    assert any(why.startswith("all seams are said to be whole") for why in found.complaints)


def test_a_gap_where_nothing_is_missing_is_false(clip: Clip) -> None:
    gap = WHOLE._replace(kind="gap", certainty="likely", gap_ms=4000.0)
    assert any("nothing is missing at" in why for why in account(clip, everything, seams=[gap]).complaints)
    away = track(clip, status=404, until=FOREVER)
    rest = [number for number in range(COUNT) if number not in (10, 11)]
    assert account(clip, lambda kind: rest, away, seams=[gap]).complaints == []


def test_a_gap_of_nothing_where_something_is_missing_is_false(clip: Clip) -> None:
    gap = WHOLE._replace(kind="gap", certainty="likely", gap_ms=0.0)
    found = account(clip, lambda kind: everything(kind)[:15], seams=[gap])
    assert any("says that nothing is missing" in why for why in found.complaints)


def test_sound_without_pictures_is_false(clip: Clip) -> None:
    found = account(clip, lambda kind: everything(kind) if kind == "a" else [])
    assert "a file without one of its streams is said to be sound" in found.complaints


def test_damaged_while_all_is_there_is_false(clip: Clip) -> None:
    found = account(clip, everything, verdict="damaged", problems=["so it says"])
    assert found.complaints == ["sound media are said to be damaged: so it says"]


def test_a_length_that_is_not_there_is_false(clip: Clip) -> None:
    assert account(clip, everything, told_ms=9_000_000.0).complaints == ["the daemon says 9000.0 s, and has 40.0 s"]
    assert account(clip, everything, told_ms=20_000.0).complaints == ["the daemon says 20.0 s, and has 40.0 s"]


def test_who_stands_beside_may_not_have_more(clip: Clip) -> None:
    more = {"streamlink": [holding(lambda kind: everything(kind)[2:17])]}
    found = account(clip, lambda kind: everything(kind)[:15], beside=more)
    assert f"video: streamlink has {2 * FRAMES} that are lost here" in found.complaints
    assert found.beside["streamlink"]["v"] == 5 * FRAMES
    assert account(clip, everything, beside=more).complaints == []


def test_what_cannot_be_recorded_must_not_be(clip: Clip) -> None:
    take = Take(name="case", tracks=(track(clip),), is_refused=True)
    refused = Facts(take=take, show=take.show(), state="failed", verdict="cannot verify")
    assert draw_up(refused).complaints == []
    assert draw_up(replace(refused, looked=[holding(everything)], parts=["case.ts"])).complaints
