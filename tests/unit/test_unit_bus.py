# SPDX-License-Identifier: GPL-3.0-or-later
"""Results of scopes from the signals that systemd sends, in the order it was seen to send them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamvaultd.base.systemd1 import UNIT_PATH, unit_of, unit_path
from streamvaultd.scopes.witnesses.bus import Results

UNIT = "streamvault-7-001.scope"


def told_by(*changes: dict[str, str], adopted: tuple[str, str] | None = None) -> list[tuple[str, str, str]]:
    told: list[tuple[str, str, str]] = []
    results = Results(lambda *result: told.append(result))
    if adopted:
        results.adopt(UNIT, *adopted)
    for change in changes:
        results.change(UNIT, change)
    return told


STARTED = ({"Result": "success"}, {"ActiveState": "inactive"}, {"Result": "success"}, {"ActiveState": "active"})


def test_a_start_is_told_once() -> None:
    assert told_by(*STARTED) == [(UNIT, "success", "active")]


def test_an_end_without_a_start_is_told_of_an_adopted_scope_only() -> None:
    assert told_by({"Result": "success"}, {"ActiveState": "inactive"}) == []
    assert told_by({"ActiveState": "inactive"}, adopted=("success", "active")) == [(UNIT, "success", "inactive")]


def test_an_out_of_memory_kill_is_told_and_stays_although_it_is_forgotten() -> None:
    assert told_by(
        *STARTED,
        {"Result": "oom-kill"},
        {"ActiveState": "deactivating"},
        {"Result": "oom-kill"},
        {"ActiveState": "failed"},
        {"Result": "success"},  # ResetFailedUnit()
        {"ActiveState": "failed"},
        {"ActiveState": "inactive"},
    ) == [
        (UNIT, "success", "active"),
        (UNIT, "oom-kill", "active"),
        (UNIT, "oom-kill", "deactivating"),
        (UNIT, "oom-kill", "failed"),
        (UNIT, "oom-kill", "inactive"),
    ]


def test_what_a_signal_told_is_newer_than_a_list() -> None:
    told: list[tuple[str, str, str]] = []
    results = Results(lambda *result: told.append(result))
    results.change(UNIT, {"Result": "timeout", "ActiveState": "failed"})
    results.adopt(UNIT, "success", "active")
    results.change(UNIT, {"ActiveState": "failed"})
    assert told == [(UNIT, "timeout", "failed")]


def test_an_unloaded_scope_is_forgotten() -> None:
    told: list[tuple[str, str, str]] = []
    results = Results(lambda *result: told.append(result))
    for _ in range(2):
        results.change(UNIT, {"ActiveState": "active"})
        results.forget(UNIT)
    results.forget("never seen")
    assert told == [(UNIT, "success", "active")] * 2


def test_other_units_and_properties_are_ignored() -> None:
    told: list[tuple[str, str, str]] = []
    results = Results(lambda *result: told.append(result))
    results.change("streamvault-recordings.slice", {"ActiveState": "active"})
    results.change(UNIT, {"MemoryMax": 5})
    assert told == []


@pytest.mark.parametrize(
    ("unit", "label"),
    [
        ("streamvault-7-001.scope", "streamvault_2d7_2d001_2escope"),
        ("9p.mount", "_39p_2emount"),
        ("dev-ü.device", "dev_2d_c3_bc_2edevice"),
        ("", "_"),
    ],
)
def test_object_paths_of_units(unit: str, label: str) -> None:
    assert unit_path(unit) == f"{UNIT_PATH}/{label}"
    assert unit_of(f"{UNIT_PATH}/{label}") == unit


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_every_name_survives_its_path(unit: str) -> None:
    assert unit_of(unit_path(unit)) == unit


@pytest.mark.parametrize(
    "path", ["", "/", UNIT_PATH, f"{UNIT_PATH}/", f"{UNIT_PATH}/a/b", "/org/freedesktop/systemd1/job/1"]
)
def test_other_objects_are_no_units(path: str) -> None:
    assert unit_of(path) is None
