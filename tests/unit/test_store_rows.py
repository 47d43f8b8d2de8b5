# SPDX-License-Identifier: GPL-3.0-or-later
"""Recorders as rows, and back: exact within a boot, moved onto the present scale after another."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.engine.default import DefaultDialect

from streamvaultd.core.evidence import Evidence
from streamvaultd.core.model import Moment, Phase, Policy, Recorder, Recording, Segment, State
from streamvaultd.store.rows import Present, parse_recorder, parse_segment, recording_values, segment_values
from streamvaultd.store.schema import Realtime, storable
from tests.component.store_world import BOOT, HOUR, LATER_BOOT, NOW, RECORDERS, later

RECORDING = Recording(
    id=7,
    stream=9,
    streamer="demo",
    url="https://example.org/demo",
    quality="best",
    directory="/srv",
    created=NOW,
    duration=90.0,
    policy=Policy(grace=7.5),
)


def recording_row(recorder: Recorder, boot: str = BOOT) -> dict[str, Any]:
    wanted = recorder.recording
    keys = {"id": wanted.id, "stream_id": wanted.stream, "username": wanted.streamer}
    return keys | recording_values(recorder, boot)


def segment_row(segment: Segment, boot: str = BOOT) -> dict[str, Any]:
    return {"number": segment.number, **segment_values(segment, recording=7, path="/srv/a.ts", boot=boot)}


@given(RECORDERS)
def test_what_a_recorder_holds_comes_back_within_a_boot(recorder: Recorder) -> None:
    present = Present(BOOT, later(HOUR))
    parts = tuple(parse_segment(segment_row(segment), present) for segment in recorder.segments)
    assert parse_recorder(recording_row(recorder), parts, present) == recorder


def test_after_another_boot_moments_keep_their_date_and_their_age() -> None:
    """The old boot had counted 5000 s; this one counts 20 s when it is an hour later."""
    present = Present(LATER_BOOT, Moment(monotonic=20.0, realtime=later(HOUR).realtime))
    parsed = parse_recorder(recording_row(Recorder(recording=RECORDING, state=State.GRACE, since=NOW)), (), present)
    assert parsed.since == Moment(monotonic=20.0 - HOUR, realtime=NOW.realtime)
    assert parsed.recording.created == parsed.since


def test_after_another_boot_instants_without_a_date_are_due_now() -> None:
    present = Present(LATER_BOOT, later(HOUR))
    recorder = Recorder(recording=RECORDING, state=State.GRACE, since=NOW, grace_until=NOW.monotonic + 60)
    parsed = parse_recorder(recording_row(recorder), (), present)
    assert parsed.grace_until == present.now.monotonic
    assert parsed.retry_at is None


def test_a_segment_of_another_boot_is_moved_on_its_own() -> None:
    present = Present(LATER_BOOT, Moment(monotonic=20.0, realtime=later(10).realtime))
    segment = Segment(number=1, phase=Phase.WRITING, since=NOW, started=NOW, grown_at=5_001.0)
    parsed = parse_segment(segment_row(segment), present)
    then = Moment(10.0, NOW.realtime)
    assert parsed == replace(segment, since=then, started=then, grown_at=20.0, earlier_boot=True)


def test_a_policy_of_another_version_takes_the_defaults_for_what_it_lacks() -> None:
    row = recording_row(Recorder(recording=RECORDING, state=State.RECORDING, since=NOW))
    row["policy"] = {"grace": 3.0, "forgotten": True}
    assert parse_recorder(row, (), Present(BOOT, NOW)).recording.policy == Policy(grace=3.0)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("state", None),
        ("state", "dreaming"),
        ("since", None),
        ("since_monotonic", None),
        ("failures", "three"),
        ("stop_reason", "boredom"),
        ("policy", ["grace"]),
        ("policy", {"grace": "60s"}),
        ("retry_at_monotonic", "soon"),
        ("url", b"https"),
    ],
)
def test_a_row_that_holds_no_recorder_is_a_value_error(column: str, value: object) -> None:
    row = recording_row(Recorder(recording=RECORDING, state=State.RECORDING, since=NOW)) | {column: value}
    with pytest.raises(ValueError, match=column.removesuffix("_monotonic").removesuffix("_reason")):
        parse_recorder(row, (), Present(BOOT, NOW))


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("status", "asleep"),
        ("evidence", ["oom"]),
        ("evidence", {"status": "9"}),
        ("bytes", 7.5),
        ("started_at_monotonic", None),
    ],
)
def test_a_row_that_holds_no_segment_is_a_value_error(column: str, value: object) -> None:
    segment = Segment(number=1, phase=Phase.WRITING, since=NOW, started=NOW)
    with pytest.raises(ValueError, match=r"segment 1|evidence|started_at"):
        parse_segment(segment_row(segment) | {column: value}, Present(BOOT, NOW))


def test_evidence_is_stored_by_name_and_without_what_nobody_told() -> None:
    evidence = Evidence(status=-9, oom_kills=1, memory_max=64 << 20, host_down=False, log=("error: x",))
    row = segment_row(Segment(number=1, phase=Phase.ENDED, since=NOW, evidence=evidence))
    told = {"status": -9, "oom_kills": 1, "memory_max": 64 << 20, "host_down": False, "log": ["error: x"]}
    assert json.loads(json.dumps(row["evidence"])) == told
    later_version = row | {"evidence": told | {"seen_by": "a witness of another version"}}
    assert parse_segment(later_version, Present(BOOT, NOW)).evidence == evidence


@given(st.integers(0, 253_402_300_799_999_999))
def test_a_date_is_exact_to_the_microsecond(realtime: int) -> None:
    kind, dialect = Realtime(), DefaultDialect()
    date = kind.process_bind_param(realtime, dialect)
    assert date is not None
    assert kind.process_result_value(date, dialect) == realtime
    assert kind.process_result_value(date.replace(tzinfo=None), dialect) == realtime


@given(st.text())
def test_text_is_kept_unless_no_database_can_store_it(value: str) -> None:
    kept = storable(value)
    assert "\0" not in kept.encode().decode()
    if "\0" not in value and value.isprintable():
        assert kept == value


def test_lone_surrogates_and_nul_are_replaced() -> None:
    assert storable("a\udce9b\0c") == "a\ufffdb\ufffdc"
