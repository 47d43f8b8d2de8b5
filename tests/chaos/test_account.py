# SPDX-License-Identifier: GPL-3.0-or-later
"""The account must be able to complain: each thing that must not be is put into it once."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from tests.chaos.account import DAEMON_AWAY, LAUNCH_TROUBLE, MUST_BE_ZERO, Account, draw_up
from tests.chaos.campaign import Result
from tests.chaos.facts import CatalogueFacts, Facts, Leaks, Row, Told
from tests.chaos.faults import COMMANDS, UNDO, Strike
from tests.chaos.report import complaints, is_good, table
from tests.chaos.schedule import DATABASE_KINDS, GONE, KINDS, WINDOW, draw
from tests.fakes.channel import Spell
from tests.testbed.frames import FrameCount
from tests.testbed.tables import NAMES, differences
from tests.testbed.tables import Row as TableRow

PER_OFFER = 60
OFFERS = 60
BEGAN = 1000.0
ENDED = BEGAN + 2 * OFFERS


def frames(lost: tuple[int, ...] = (), repeated: int = 0, foreign: int = 0) -> FrameCount:
    every = OFFERS * PER_OFFER
    return FrameCount(
        first=0, expected=every, found=every - len(lost), lost=lost, repeated=repeated, foreign=foreign, disordered=0
    )


def row(number: int, start: float, end: float | None, cause: str | None) -> Row:
    ended = None if end is None else BEGAN + end
    return Row(
        number=number, status="removed", cause=cause, started=BEGAN + start, ended=ended, media_at=BEGAN + start + 1
    )


def strike(
    kind: str, at: float, *, segment: int | None = None, cause: str | None = None, lasts: float = 0.0
) -> Strike:
    moment = BEGAN + at
    recording = None if kind.startswith("daemon") else 0
    return Strike(
        kind=kind, recording=recording, before=moment, after=moment + 0.1, until=moment + 0.1 + lasts,
        segment=segment, cause=cause or None,
    )  # fmt: skip


GOOD = Facts(
    name="channel-0",
    state="completed",
    rows=(row(1, 0, 40.1, "signal:9"), row(2, 40.5, 120.5, "source-ended")),
    events=(Told(kind="segment-died", segment=1, at=BEGAN + 40.1),),
    gaps=0,
    frames=frames(),
    offers=tuple((BEGAN + 2 * index, BEGAN + 2 * index + WINDOW) for index in range(OFFERS)),
    spells=(),
    frames_per_offer=PER_OFFER,
    began=BEGAN,
    ended=ENDED,
    strikes=(strike("streamlink-kill", 40, segment=1, cause="signal:9"),),
)


def wrong(facts: Facts, *daemon: Strike) -> set[str]:
    """What of the account is not as it must be."""
    account = draw_up(facts, daemon)
    found = {name for name in MUST_BE_ZERO if getattr(account, name)}
    assert bool(found) == bool(account.complaints), account.complaints
    return found


def test_a_death_that_lost_nothing_is_good() -> None:
    account = draw_up(GOOD, ())
    assert account == Account(
        "channel-0", offered=3600, recorded=3600, segments=2, deaths_injected=1, deaths_recorded=1
    )


def lost_at(index: int) -> FrameCount:
    return frames(lost=tuple(range(index * PER_OFFER, (index + 1) * PER_OFFER)))


BAD = {
    "a frame lost while it recorded": ({"frames": lost_at(10)}, "lost_unexplained"),
    "a frame lost with the process, though the window held it": ({"frames": lost_at(19)}, "lost_unexplained"),
    "no file": ({"frames": None}, "lost_unexplained"),
    "a frame twice": ({"frames": frames(repeated=1)}, "repeated"),
    "a damaged frame": ({"frames": frames(foreign=1)}, "damaged"),
    "another cause": ({"rows": (row(1, 0, 40.1, "unknown"), GOOD.rows[1])}, "deaths_miscounted"),
    "a death told twice": ({"events": GOOD.events * 2}, "deaths_miscounted"),
    "a death of its own": ({"strikes": ()}, "deaths_unexplained"),
    "an end of its own": ({"rows": (row(1, 0, 40.1, "source-ended"), GOOD.rows[1]), "strikes": (), "events": ()},
                          "ends_unexplained"),
    "a rotation that nobody asked for": ({"rows": (GOOD.rows[0], row(2, 40.5, 60, "rotated"),
                                                   row(3, 59, 120.5, "source-ended"))}, "ends_unexplained"),
    "a suspicion of a source that was well": ({
        "rows": (GOOD.rows[0], row(2, 40.5, 60, "rotated"), row(3, 59, 120.5, "source-ended")),
        "events": (*GOOD.events, Told(kind="suspected", segment=2, at=BEGAN + 58)),
    }, "ends_unexplained"),
    "a late replacement": ({"rows": (GOOD.rows[0], row(2, 70, 120.5, "source-ended"))}, "late"),
    "a segment without an end": ({"rows": (GOOD.rows[0], row(2, 40.5, None, None))}, "stuck"),
    "a recording without an end": ({"state": "grace"}, "stuck"),
    "a recording that was given up": ({"rows": GOOD.rows[:1]}, "ended_early"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_must_not_be_is_found(case: str) -> None:
    changes, name = BAD[case]
    assert name in wrong(replace(GOOD, **changes))  # type: ignore[arg-type]


def test_what_left_the_window_of_a_silent_source_is_explained() -> None:
    silent = Spell("404", "all", BEGAN + 49, BEGAN + 90)
    facts = replace(GOOD, spells=(silent,), frames=lost_at(25), gaps=1)
    assert wrong(facts) == set()
    assert draw_up(facts, ()).lost_source_away == PER_OFFER
    short = replace(facts, spells=(replace(silent, until=BEGAN + 55),))
    assert wrong(short) == {"lost_unexplained"}


def test_what_nobody_could_capture_is_explained() -> None:
    absent = strike("daemon-stop", 39, lasts=36)
    facts = replace(GOOD, rows=(GOOD.rows[0], row(2, 76, 120.5, "source-ended")), frames=lost_at(21))
    assert wrong(facts, absent) == set()
    assert draw_up(facts, (absent,)).lost_capture_away == PER_OFFER


def test_a_suspicion_of_a_source_that_misbehaves_may_end_as_a_rotation() -> None:
    suspected = replace(
        GOOD, rows=(GOOD.rows[0], row(2, 40.5, 60, "rotated"), row(3, 59, 120.5, "source-ended")),
        events=(*GOOD.events, Told(kind="suspected", segment=2, at=BEGAN + 58)),
        spells=(Spell("404", "playlist", BEGAN + 55, BEGAN + 58.5),),
    )  # fmt: skip
    assert wrong(suspected) == set()


def test_the_ambiguities_are_no_wider_than_said() -> None:
    unknown = replace(GOOD, rows=(row(1, 0, 40.1, "unknown"), GOOD.rows[1]))
    shim = replace(unknown, strikes=(strike("shim-kill", 40, segment=1, cause="signal:9"),))
    assert wrong(shim) == {"deaths_miscounted"}
    assert wrong(shim, strike("daemon-kill", 60)) == {"deaths_miscounted"}
    assert wrong(shim, strike("daemon-kill", 20)) == set()
    assert wrong(unknown, strike("daemon-kill", 20)) == {"deaths_miscounted"}
    rotation = strike("rotate", 38)
    rotated = replace(
        GOOD, rows=(row(1, 0, 40.1, "rotated"), row(2, 38.5, 120.5, "source-ended")), events=(),
        strikes=(rotation, *GOOD.strikes),
    )  # fmt: skip
    assert wrong(rotated) == {"deaths_miscounted"}
    before = replace(rotated, events=(Told(kind="rotation-done", segment=2, at=BEGAN + 39.9),))
    assert wrong(before) == set()
    after = replace(rotated, events=(Told(kind="rotation-done", segment=2, at=BEGAN + 40.2),))
    assert wrong(after) == {"deaths_miscounted"}


def test_a_schedule_depends_on_its_arguments_alone() -> None:
    assert draw(3, 4.0, 3) == draw(3, 4.0, 3)
    assert draw(3, 4.0, 3) != draw(4, 4.0, 3)
    assert draw(3, 4.0, 3) != draw(3, 4.0, 4)


@pytest.mark.parametrize("seed", range(20))
def test_a_schedule_is_bounded(seed: int) -> None:
    schedule = draw(seed, 5.0, 3)
    times = [fault.at for fault in schedule.faults]
    assert times == sorted(times)
    assert all(fault.recording is None or 0 <= fault.recording < 3 for fault in schedule.faults)
    assert schedule.grace > GONE[1] or not schedule.has_real_losses
    disturbed = [fault for fault in schedule.faults if fault.kind.startswith("source-")]
    for first in disturbed:
        for second in disturbed:
            is_later = first is not second and first.recording == second.recording and second.at >= first.at
            assert not is_later or second.at > first.at + first.lasts
    kinds = {fault.kind for fault in schedule.faults}
    assert len(kinds & KINDS.keys()) > len(KINDS) * 2 / 3


# --- the catalogue -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_the_catalogue_takes_part_beside_the_other_faults_of_a_seed(seed: int) -> None:
    without, both = draw(seed, 3.0, 3), draw(seed, 3.0, 3, postgresql=True)
    assert both == draw(seed, 3.0, 3, postgresql=True)
    added = [fault for fault in both.faults if fault.kind in DATABASE_KINDS]
    assert tuple(fault for fault in both.faults if fault not in added) == without.faults
    assert {fault.kind for fault in added} == set(DATABASE_KINDS)
    times = [fault.at for fault in both.faults]
    assert times == sorted(times)
    for first, second in pairwise(added):
        assert first.at + first.lasts < second.at
    assert added[-1].kind == "postgresql-stop"
    assert added[-1].at >= both.length > added[-2].at + added[-2].lasts


def test_what_is_done_to_the_catalogue_is_undone_and_excuses_nothing() -> None:
    assert set(DATABASE_KINDS) <= set(COMMANDS)
    assert {name for name, kind in DATABASE_KINDS.items() if kind.lasts[1]} == set(DATABASE_KINDS) & set(UNDO)
    assert not set(DATABASE_KINDS) & (set(DAEMON_AWAY) | set(LAUNCH_TROUBLE))


def result(catalogue: CatalogueFacts | None) -> Result:
    good = draw_up(GOOD, ())
    return Result(draw(3, 1.0, 1), BEGAN, [], [], [GOOD], [good], Leaks(), catalogue)


def test_a_catalogue_that_is_behind_or_differs_is_complained_of() -> None:
    assert is_good(result(None))
    assert "catalogue" not in table(result(None))
    equal = result(CatalogueFacts(rows=50))
    assert is_good(equal)
    assert complaints(equal) == []
    for bad in (
        CatalogueFacts(rows=50, backlog=3),
        CatalogueFacts(rows=50, differing=("seams 7: not in the catalogue",)),
    ):
        assert not is_good(result(bad))
        assert len(complaints(result(bad))) == 1
        assert "MUST BE 0" in table(result(bad))


def tables(**rows: TableRow) -> dict[str, list[TableRow]]:
    return {name: [rows[name]] if name in rows else [] for name in NAMES}


IN_STORE: TableRow = {"id": 1, "created_at": "2026-11-23 09:00:00.000001", "settings": '{"a": 1.5}', "url": None}
IN_CATALOGUE: TableRow = {
    "id": 1,
    "created_at": "2026-11-23T09:00:00.000001+00:00",
    "settings": {"a": 1.5},
    "url": None,
}


def test_the_same_row_is_the_same_in_both_ways_of_writing() -> None:
    assert differences(tables(streamers=IN_STORE), tables(streamers=IN_CATALOGUE)) == []
    ours, theirs = {"id": 1, "rotated": 1, "evidence": None}, {"id": 1, "rotated": True, "evidence": None}
    assert differences(tables(segments=ours), tables(segments=theirs)) == []


@pytest.mark.parametrize(
    "other",
    [
        {"created_at": "2026-11-23T09:00:00.000002+00:00"},
        {"created_at": "2026-11-23T10:00:00.000001+00:00"},
        {"created_at": None},
        {"settings": {"a": 1.50000001}},
        {"settings": '{"a": 1.5}'},
        {"url": ""},
        {"more": None},
        {"id": 2},
    ],
)
def test_each_difference_of_a_row_is_found(other: TableRow) -> None:
    found = differences(tables(streamers=IN_STORE), tables(streamers=IN_CATALOGUE | other))
    assert len(found) == (2 if "id" in other else 1)
    assert all(line.startswith("streamers ") for line in found)


def test_rows_that_only_one_of_them_has_are_found() -> None:
    assert differences(tables(streamers=IN_STORE), tables()) == ["streamers 1: not in the catalogue"]
    assert differences(tables(), tables(streamers=IN_CATALOGUE)) == ["streamers 1: only in the catalogue"]
