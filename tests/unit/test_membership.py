# SPDX-License-Identifier: GPL-3.0-or-later
"""Who runs in a scope of ours, as /proc tells it."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamvaultd.base.membership import is_in_scope


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ("0::/streamvault.slice/streamvaultd.service\n", False),
        ("0::/user.slice/user-1000.slice/session-3.scope\n", False),
        ("1:name=systemd:/x\n0::/\n", False),
        ("0::/streamvault.slice/streamvault-recordings.slice/streamvault-1-001.scope\n", True),
        ("0::/streamvault.slice/streamvault-jobs.slice/streamvault-job-1.scope/below\n", True),
        ("0::/lxc/x/streamvault.slice/streamvault-recordings.slice/streamvault-1-001.scope\n", True),
        ("1:name=systemd:/x\n", True),
        ("", True),
        (None, True),
    ],
)
def test_who_is_in_a_scope(tmp_path: Path, groups: str | None, *, expected: bool) -> None:
    if groups is not None:
        (tmp_path / "4711").mkdir()
        (tmp_path / "4711" / "cgroup").write_text(groups)
    assert is_in_scope(4711, tmp_path) is expected
