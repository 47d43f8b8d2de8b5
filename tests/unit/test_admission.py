# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a slice has memory for one more segment, and where the figures come from."""

from __future__ import annotations

from pathlib import Path

from streamvaultd.core.recording.memory import GroupMemory, refusal
from streamvaultd.scopes.witnesses.cgroups import group_memory, scope_memory

MIB = 1 << 20
FULL = GroupMemory(name="streamvault-recordings.slice", used=800 * MIB, limit=1000 * MIB)


def test_a_segment_needs_room_for_its_whole_limit() -> None:
    assert refusal([FULL], 200 * MIB) is None
    assert refusal([FULL], 200 * MIB + 1) == (
        "streamvault-recordings.slice may have 1000M of memory, 200M of it is free, and a segment may take 200M"
    )


def test_every_slice_must_have_room() -> None:
    parent = GroupMemory(name="streamvault.slice", used=0, limit=256 * MIB)
    assert refusal([parent], 256 * MIB) is None
    assert refusal([parent, FULL], 256 * MIB) is not None
    assert refusal([FULL, parent], 256 * MIB) is not None


def test_a_slice_over_its_limit_has_nothing_free() -> None:
    over = GroupMemory(name="a.slice", used=2 * MIB, limit=MIB)
    assert refusal([over], 0) == "a.slice may have 1M of memory, 0M of it is free, and a segment may take 0M"


def test_without_limits_everything_is_admitted() -> None:
    assert refusal([], 1 << 60) is None


def group(root: Path, **files: str) -> str:
    """A control group of these files."""
    folder = root / "a.slice" / "b.slice"
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text)
    return "/a.slice/b.slice"


STAT = "anon 4096\nfile 999\nkernel 100\ninactive_anon 4000\nactive_file 200\ninactive_file 300\nslab_reclaimable 50\n"


def test_what_can_be_reclaimed_is_not_in_use(tmp_path: Path) -> None:
    it = group(tmp_path, memory_max="8192\n", memory_current="5000\n", memory_stat=STAT)
    assert group_memory(it, tmp_path) == GroupMemory(name="b.slice", used=5000 - 550, limit=8192)
    assert scope_memory(it, tmp_path) == (4096, 8192)


def test_a_group_without_a_limit_a_controller_or_existence_tells_nothing(tmp_path: Path) -> None:
    assert group_memory("/a.slice/b.slice", tmp_path) is None
    assert scope_memory("/a.slice/b.slice", tmp_path) == (None, None)
    it = group(tmp_path, memory_max="max\n", memory_current="5000\n", memory_stat=STAT)
    assert group_memory(it, tmp_path) is None
    assert scope_memory(it, tmp_path) == (4096, None)
    (tmp_path / "a.slice" / "b.slice" / "memory.max").unlink()
    assert group_memory(it, tmp_path) is None
