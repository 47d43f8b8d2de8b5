# SPDX-License-Identifier: GPL-3.0-or-later
"""What a job leaves behind is read if it is a file, and not a great one; nothing waits for it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from streamvaultd.jobs import reports


def test_a_report_is_read(tmp_path: Path) -> None:
    path = tmp_path / "job-1.json"
    path.write_bytes(b"{}")
    assert reports.read_report(path) == b"{}"


def _great(path: Path) -> None:
    path.write_bytes(b"")
    os.truncate(path, reports.REPORT_MAX + 1)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/etc/passwd"), _great])
def test_anything_else_is_none(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "job-1.json"
    make(path)
    with pytest.raises(OSError, match=r"job-1\.json"):
        reports.read_report(path)
