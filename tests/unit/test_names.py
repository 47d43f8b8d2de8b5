# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of units and descriptors: what is written is read back, and nothing else is read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import streamvaultd
from streamvaultd.core.names import INSTALL_SOCKET, NOTIFY_SOCKET, PROBE_SOCKET, Job, Run

RECORDINGS = st.integers(1, 9_999_999_999)
NUMBERS = st.integers(1, 999_999)


@given(RECORDINGS, NUMBERS)
def test_names_are_read_back(recording: int, number: int) -> None:
    run, job = Run(recording, number), Job(recording)
    assert Run.of(run.unit) == Run.of_pipe(run.pipe) == Run.of_file(run.file) == run
    assert Job.of(job.unit) == Job.of_pipe(job.pipe) == job
    assert not any((Run.of_pipe(run.file), Run.of_file(run.pipe), Job.of(run.unit), Run.of(job.unit)))


def test_names_are_those_that_people_see() -> None:
    run, job = Run(348, 2), Job(12)
    assert (run.unit, run.pipe, run.file) == ("streamvault-348-002.scope", "exit-348-2", "file-348-2")
    assert (job.unit, job.pipe) == ("streamvault-job-12.scope", "exit-job-12")


@pytest.mark.parametrize("name", [
    "", "streamvault-348-2.scope", "streamvault-0-001.scope", "streamvault-348-002.service", "streamvault-a-001.scope",
    "streamvault-348-002.scope\n", " streamvault-348-002.scope", "streamvault-٣-001.scope", "init.scope",
    "streamvault-348.scope", "exit-0-1", "exit-348", "exit-job-0", "exit-job-x", "streamvault-job-0.scope", "varlink",
])  # fmt: skip
def test_other_names_are_not_ours(name: str) -> None:
    assert [Run.of(name), Run.of_pipe(name), Run.of_file(name), Job.of(name), Job.of_pipe(name)] == [None] * 5


@pytest.mark.parametrize("path", [PROBE_SOCKET, NOTIFY_SOCKET, INSTALL_SOCKET])
def test_each_socket_is_one_that_its_unit_listens_on(path: str) -> None:
    systemd = Path(__file__).resolve().parents[2] / "systemd"
    unit = systemd / f"{Path(path).parent.name}.socket"
    assert f"ListenStream={path.removeprefix('/run')}" in unit.read_text().replace("=%t", "=").replace("=/run", "=")


_NAME = re.compile(r"""["'](?:streamvault-[^"']*\.(?:scope|slice)|(?:exit|file)-[{(]|streamvaultd\.service)""")


def test_names_are_written_and_read_in_one_place() -> None:
    package = Path(streamvaultd.__file__).parent
    found = [str(path.relative_to(package)) for path in package.rglob("*.py") if _NAME.search(path.read_text())]
    assert found == ["core/names.py"]
