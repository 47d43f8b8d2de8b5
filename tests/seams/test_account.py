# SPDX-License-Identifier: GPL-3.0-or-later
"""The account of a campaign on made-up facts: each thing that must not be is put into it once."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.fakes.channel import Channel, Delivery
from tests.fakes.media import Media
from tests.seams.account import Away, Facts, draw_up
from tests.seams.campaign import absences
from tests.seams.plan import Step, Take, draw
from tests.seams.report import as_json, is_good, table
from tests.testbed.frames import FrameCount
from tests.testbed.recorder import Seam

STEPS = (Step(kind="rotate", pause=1.0), Step(kind="kill", pause=1.0, signal="KILL", outage=3.0, where="start"))
TAKE = Take("ts-1", "ts", 15, STEPS)
AWAY = Take("ts-away", "ts", 5, (Step(kind="away", pause=1.0, signal="TERM", outage=14.0, where="source"),))
ROTATED = Seam(1, 2, "exact", "bytes", "proven", 0.0)
KILLED = Seam(2, 3, "union", "packets", "proven", 0.0)
GAP = Seam(1, 2, "gap", "timestamps", "likely", 4000.0)
STARTS = {"video": tuple(range(0, 660, 60)), "audio": tuple(range(0, 1100, 100))}


def count(track: str, *lost: int, **fields: Any) -> FrameCount:
    """Ten media segments, all but some of whose frames are there."""
    expected = STARTS[track][-1]
    numbers = {"repeated": 0, "foreign": 0, "disordered": 0} | fields
    return FrameCount(first=0, expected=expected, found=expected - len(lost), lost=lost, **numbers)


def facts(take: Take = TAKE, **fields: Any) -> Facts:
    """Of a recording in which all went well."""
    found = Facts(
        take=take,
        state="completed",
        why="",
        causes={1: "rotated", 2: "signal:9", 3: "source-ended"},
        seams=(ROTATED, KILLED),
        parts=1,
        counts={"video": count("video"), "audio": count("audio")},
        absences=(),
        starts=STARTS,
    )
    return replace(found, **fields)


def away(lost: range = range(180, 300), *, gap: Seam = GAP, has_left: bool = True, **fields: Any) -> Facts:
    """Of one whose source was away while media segments 3 and 4 left its window."""
    counts = {"video": count("video", *lost, **fields), "audio": count("audio", *range(300, 500))}
    return facts(AWAY, seams=(gap,), counts=counts, absences=(Away(2, 5, has_left),))


def test_nobody_complains_of_what_is_as_it_must_be() -> None:
    account = draw_up(facts())
    assert account.complaints == []
    assert (account.exact, account.union, account.rotations, account.kills) == (1, 1, 1, 1)
    gone = draw_up(away())
    assert gone.complaints == []
    assert (gone.lost, gone.lost_away, gone.gap_ms) == (0, 120, 4000.0)


def test_the_last_that_a_killed_process_received_may_be_torn() -> None:
    account = draw_up(away(range(178, 300), gap=GAP._replace(gap_ms=4066.7), foreign=1))
    assert account.complaints == []
    assert account.torn == 2


WRONG = {
    "a frame is lost": (facts(counts={"video": count("video", 59)}), "video: 1 lost"),
    "where it was": (facts(counts={"video": count("video", 59)}), "lost in the media segments [0]"),
    "a frame is repeated": (facts(counts={"video": count("video", repeated=1)}), "video: 1 repeated"),
    "a frame is damaged": (facts(counts={"video": count("video", foreign=1)}), "video: 1 damaged"),
    "frames are out of order": (facts(counts={"video": count("video", disordered=1)}), "1 out of order"),
    "audio is lost": (facts(counts={"video": count("video"), "audio": count("audio", 7)}), "audio: 1 lost"),
    "the decoder complains": (facts(counts={"video": count("video", complaints=("oh",))}), "the decoder says 'oh'"),
    "it is not joined": (facts(state="failed"), "it is failed"),
    "a step failed": (facts(why="records: not within 60 s"), "not within 60 s"),
    "a rotation left a union": (facts(seams=(ROTATED._replace(kind="union"), KILLED)), "it was rotated"),
    "a kill left a gap": (facts(seams=(ROTATED, KILLED._replace(kind="gap"))), "the window held"),
    "a seam is not proven": (facts(seams=(ROTATED._replace(certainty="likely"),)), "the window held"),
    "a break without a change": (facts(seams=(ROTATED._replace(kind="break"),)), "never changed"),
    "a frame is lost that had not left": (away(range(120, 300)), "the seams say 4000.0 ms, 6000.0 ms"),
    "more than what left is lost": (away(range(180, 301)), "video: 1 lost"),
    "something could be fetched": (away(has_left=False), "lost what could be fetched"),
    "something is there that had left": (away(range(181, 300)), "1 there though"),
    "the seam says something else": (away(gap=GAP._replace(gap_ms=3900.0)), "the seams say 3900.0 ms"),
    "the seam does not say": (away(gap=GAP._replace(gap_ms=None)), "does not say what is missing"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_must_not_be_is_told(case: str) -> None:
    found, told = WRONG[case]
    account = draw_up(found)
    assert any(told in complaint for complaint in account.complaints), account.complaints
    assert not is_good([account])
    assert told in table([account])


def test_a_break_is_what_another_initialisation_makes() -> None:
    take = replace(TAKE, kind="fmp4-change")
    assert draw_up(facts(take, seams=(ROTATED._replace(kind="break", gap_ms=None),))).complaints == []


def test_a_plan_has_what_was_asked_for_and_is_repeatable() -> None:
    plan = draw(7, 100, 100)
    assert plan == draw(7, 100, 100) != draw(8, 100, 100)
    main = [take for take in plan.takes if take.kind in ("ts", "fmp4") and not take.is_away]
    assert sum(take.count("rotate") for take in main) == 100
    assert sum(take.count("kill") for take in main) == 100
    assert {take.kind for take in plan.takes} == {"ts", "fmp4", "aes", "audio", "separate", "change", "fmp4-change"}
    assert {(step.signal, step.where) for take in main for step in take.steps if step.kind == "kill"} == {
        (name, where) for name in ("TERM", "KILL") for where in ("source", "start")
    }
    assert as_json(plan, [draw_up(facts())])["good"] is True


def test_what_is_fetched_second_may_end_first() -> None:
    """The source was away from 10.5 to 24.5; 10 to 12 had left the window of five, 13 was there whole after 14."""
    media = cast("Media", SimpleNamespace(spec=SimpleNamespace(segment=2), count=1000))
    channel = Channel(media, window=5, elapsed=12.0, started=0.0)
    noted = [(8.9, 9), (9.9, 8), (25.0, 14), (25.2, 13), (26.0, 15)]
    channel.deliveries += [Delivery(at, segment) for at, segment in noted]
    assert list(absences(channel, [24.5])) == [Away(9, 13, has_left=True)]
    channel.deliveries.remove(Delivery(25.2, 13))
    assert list(absences(channel, [24.5])) == [Away(9, 14, has_left=False)]
    assert list(absences(channel, [30.0])) == []
