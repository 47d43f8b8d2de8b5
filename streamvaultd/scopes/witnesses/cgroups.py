# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel tells of control groups: which live, and their memory; cgroups(7), the kernel's cgroup-v2.rst.

A few short reads of files that are made as they are read: nothing here waits. None everywhere where there is no memory
controller, or no such group.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from streamvaultd.core.names import JOBS_SLICE, RECORDINGS_SLICE, slice_groups
from streamvaultd.core.recording.memory import GroupMemory, refusal

CGROUP_ROOT: Final = Path("/sys/fs/cgroup")


def populated_scopes(root: Path = CGROUP_ROOT) -> dict[str, str]:
    """Our scopes in which a process lives, and their control groups."""
    slices = (slice_groups(name)[-1] for name in (RECORDINGS_SLICE, JOBS_SLICE))
    groups = (f"{group}/{folder.name}" for group in slices for folder in _folder(group, root).glob("*.scope"))
    return {group.rpartition("/")[2]: group for group in groups if _is_populated(_folder(group, root))}


def scope_memory(control_group: str, root: Path = CGROUP_ROOT) -> tuple[int | None, int | None]:
    """Bytes that the processes of a control group hold and the kernel cannot take back, its page cache left out.

    And the group's limit. None is what is not known, or not limited.
    """
    folder = _folder(control_group, root)
    return _stat(folder).get("anon"), _number(folder / "memory.max")


def memory_use(control_group: str, root: Path = CGROUP_ROOT) -> tuple[int | None, int | None]:
    """Bytes that are charged to a control group now, its page cache included; and the most that ever were."""
    folder = _folder(control_group, root)
    return _number(folder / "memory.current"), _number(folder / "memory.peak")


def group_memory(control_group: str, root: Path = CGROUP_ROOT) -> GroupMemory | None:
    """A control group's memory and its limit; None if it has no limit, or does not exist."""
    folder = _folder(control_group, root)
    limit, current = _number(folder / "memory.max"), _number(folder / "memory.current")
    if limit is None or current is None:
        return None
    counts = _stat(folder)
    reclaimable = sum(counts.get(name, 0) for name in ("inactive_file", "active_file", "slab_reclaimable"))
    return GroupMemory(name=folder.name, used=max(current - reclaimable, 0), limit=limit)


class Memory:
    """The memory of segments, and of the slices that they are in."""

    def refusal(self, wanted: int) -> str | None:
        """Why a segment that may take so much memory does not fit into its slices now; None if it does."""
        found = (group_memory(group) for group in slice_groups(RECORDINGS_SLICE))
        return refusal((group for group in found if group is not None), wanted)

    def used(self, unit: str) -> tuple[int | None, int | None]:
        """See memory_use(), of a segment's scope."""
        return memory_use(f"{slice_groups(RECORDINGS_SLICE)[-1]}/{unit}")


def _folder(control_group: str, root: Path) -> Path:
    return root / control_group.lstrip("/")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except OSError:
        return ""


def _is_populated(folder: Path) -> bool:
    return "populated 1" in _read(folder / "cgroup.events")


def _number(path: Path) -> int | None:
    text = _read(path).strip()
    return int(text) if text.isdigit() else None


def _stat(folder: Path) -> dict[str, int]:
    words = _read(folder / "memory.stat").split()
    return {name: int(value) for name, value in zip(words[::2], words[1::2], strict=True)}
