# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbers from outside are held against their ranges where they enter."""

from __future__ import annotations

import json
import math
from dataclasses import fields
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamvaultd.core import ranges
from streamvaultd.core.evidence import Evidence
from streamvaultd.core.model import Moment, Policy
from streamvaultd.core.recording.loglines import resolved_quality
from streamvaultd.core.upkeep.recovery import reopened
from streamvaultd.scopes.witnesses.pidfd import parse_exit_record
from streamvaultd.upkeep.manifests import format as manifest
from streamvaultd.upkeep.manifests.format import ManifestUnreadable
from streamvaultd.watching.probe_line import Answer

NUMBERS = st.integers() | st.floats() | st.sampled_from([2**31, 2**63, 2**64, 10**12, 10**400, 1e308, -1e308])
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
WHOLE: dict[str, Any] = {
    "format": 1, "recording": 7, "stream": 8, "streamer": "alice", "url": "https://example.org/", "quality": "best",
    "status": "completed", "start_time": 1, "duration": 3600.0, "result": "alice.ts", "result_bytes": 10,
    "segments": [{"number": 1, "status": "ended", "bytes": 10, "started_at": 1, "exit_status": 0}],
    "seams": [{"older": 1, "newer": 2, "kind": "gap", "method": "pts", "certainty": "exact", "gap_ms": 1.5}],
}  # fmt: skip
NOW = Moment(1000.0, 1_700_000_000_000_000)


def test_a_range_holds_its_ends_and_no_nan_or_boolean() -> None:
    allowed = ranges.Range(1, 5)
    assert [value for value in (0, 1, 5, 6, 1.5, math.nan, math.inf, True, "3", None) if allowed.holds(value)] == [
        1,
        5,
        1.5,
    ]


@given(NUMBERS)
def test_the_nearest_number_is_in_the_range_and_a_number_in_it_stays(value: float) -> None:
    nearest = ranges.SECONDS.nearest(value)
    assert ranges.SECONDS.holds(nearest)
    assert nearest == value or not ranges.SECONDS.holds(value)


def test_every_number_of_a_policy_has_a_range() -> None:
    numbers = {field.name for field in fields(Policy) if type(field.default) in (int, float)}
    numbers |= {field.name for field in fields(Policy) if field.type == "int | None"}
    assert numbers == set(ranges.POLICY)
    assert ranges.misfit(Policy(), ranges.POLICY) is None


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"duration": 1e308}, "duration is 1e+308: expected `float` <= 315360000"),
        ({"duration": -1}, "duration is -1"),
        ({"recording": 2**63}, "recording is 9223372036854775808: expected `int` <= 1000000000000000000"),
        ({"stream": 0}, "stream is 0"),
        ({"start_time": 10**18}, "start_time is 1000000000000000000: expected `int` <= 253402300799999999"),
        ({"segments": [{"number": 10**12, "status": ""}]}, "segments[0].number is 1000000000000: expected `int` <="),
        ({"segments": [{"number": 1, "status": "ended", "bytes": -1}]}, "segments[0].bytes is -1"),
        ({"seams": [{**WHOLE["seams"][0], "gap_ms": 1e300}]}, "seams[0].gap_ms is 1e+300"),
        ({"seams": [{**WHOLE["seams"][0], "older": 10**12}]}, "seams[0].older is 1000000000000"),
        ({"recording": 10**400}, "recording"),
        ({"url": "https://example.org/\0"}, "url holds a NUL"),
    ],
)  # fmt: skip
def test_a_manifest_with_an_absurd_number_is_refused_with_key_value_and_range(
    change: dict[str, Any], told: str
) -> None:
    assert manifest.parse(json.dumps(WHOLE).encode()).duration == 3600
    with pytest.raises(ManifestUnreadable) as refusal:
        manifest.parse(json.dumps({**WHOLE, **change}).encode())
    assert told in str(refusal.value)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(WHOLE)), JSON, max_size=3), st.dictionaries(st.sampled_from(
    ["number", "bytes", "started_at", "ended_at", "media_at", "exit_status", "memory_max", "status", "cause"]), JSON,
    max_size=3,
))  # fmt: skip
def test_whatever_a_manifest_says_there_is_a_recorder_or_a_mistake(
    top: dict[str, Any], of_part: dict[str, Any]
) -> None:
    text = json.dumps(WHOLE | {"segments": [{**WHOLE["segments"][0], **of_part}]} | top).encode()
    try:
        found = manifest.parse(text)
    except ManifestUnreadable:
        return
    for sizes in ({}, {1: 10}):
        made = manifest.rebuilt(
            found, directory="/srv", sizes=sizes, result_bytes=None, policy=Policy(), at=NOW
        )  # fmt: skip
        assert reopened(made, sizes, NOW).recording.id == found.recording


@given(st.binary(max_size=40) | JSON.map(lambda value: json.dumps(value).encode()))
def test_whatever_is_in_a_manifest_file_it_is_refused(text: bytes) -> None:
    with pytest.raises(ManifestUnreadable):
        manifest.parse(text)


@pytest.mark.parametrize("text", [b"[" * 100_000, b'{"a":' * 100_000, b"\xff\xfe", b'{"log":["\xff"]}'])
def test_what_is_no_exit_record_tells_nothing(text: bytes) -> None:
    assert parse_exit_record(text) == Evidence()


def test_numbers_of_an_exit_record_that_cannot_be_were_not_told() -> None:
    told = {
        "status": 10**40,
        "memoryPeak": 2**63,
        "oomKills": -1,
        "maxRss": 17,
        "userUSec": 5,
        "systemUSec": 6,
        "log": ["x"],
    }
    found = parse_exit_record(json.dumps({**told, "log": ["x"]}).encode())
    assert found == Evidence(max_rss=17, cpu_usec=11, log=("x",))


@given(
    st.dictionaries(
        st.sampled_from(["status", "memoryPeak", "memoryMax", "oomKills", "userUSec", "error", "log"]), JSON
    )
)
def test_whatever_an_exit_record_says_its_numbers_are_in_their_ranges(told: dict[str, Any]) -> None:
    found = parse_exit_record(json.dumps(told).encode())
    for name, allowed in ranges.EVIDENCE.items():
        assert getattr(found, name) is None or allowed.holds(getattr(found, name))


@pytest.mark.parametrize("told", [{"retry": 1e308}, {"retry": -1}, {"rss": -1}, {"id": -5}])
def test_numbers_of_a_probe_that_cannot_be_are_no_answer(told: dict[str, Any]) -> None:
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(json.dumps(told).encode(), type=Answer)
    assert msgspec.json.decode(b'{"retry":30,"rss":100,"id":5}', type=Answer).retry == 30


def test_a_name_of_a_quality_that_is_too_long_is_none() -> None:
    assert resolved_quality("info cli: Opening stream: 1080p60 (hls)") == "1080p60"
    assert resolved_quality(f"info cli: Opening stream: {'9' * 65} (hls)") is None
