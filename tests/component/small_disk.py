# SPDX-License-Identifier: GPL-3.0-or-later
"""Small ext4 file systems in image files, as root: disks that fill up, hang, fail, lose power."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

MIB = 1 << 20


def run(*command: str | Path) -> str:
    """Run a command that must succeed."""
    done = subprocess.run([str(word) for word in command], check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{command[0]}: {done.stderr}"
    return done.stdout


class SmallDisk:
    """A mounted image file. `power_cut()` mounts a copy of what has reached it by now."""

    def __init__(self, image: Path, point: Path) -> None:
        self.image = image
        self.point = point

    def fill(self, leave: int = 0) -> Path:
        """Write a file until so many bytes are free, as nobody but root sees them either."""
        filler = self.point / "filler"
        size = max(self.free() - leave, 0)
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while size > 0:
                size -= file.write(bytes(min(size, MIB)))
        return filler

    def free(self) -> int:
        """Bytes that anybody may still write."""
        found = os.statvfs(self.point)
        return found.f_bavail * found.f_frsize

    @contextlib.contextmanager
    def hanging(self, below: SmallDisk) -> Iterator[None]:
        """Nothing reaches this disk, whose image is on the disk `below`, for as long as that one is frozen."""
        run("fsfreeze", "--freeze", below.point)
        try:
            yield
        finally:
            run("fsfreeze", "--unfreeze", below.point)

    @contextlib.contextmanager
    def power_cut(self) -> Iterator[Path]:
        """The file system as it would be after a power cut now, its journal replayed."""
        copy = self.image.with_name(f"{self.image.name}.copy")
        shutil.copyfile(self.image, copy)
        with mounted(copy) as disk:
            yield disk.point
        copy.unlink()


@contextlib.contextmanager
def small_disk(image: Path, size: int = 64 * MIB, *options: str) -> Iterator[SmallDisk]:
    """A new file system; `options` are mkfs.ext4's."""
    with image.open("wb") as file:
        file.truncate(size)
    run("mkfs.ext4", "-q", "-m", "0", *options, image)
    with mounted(image) as disk:
        yield disk


@contextlib.contextmanager
def mounted(image: Path) -> Iterator[SmallDisk]:
    """The file system of an image."""
    point = image.with_name(f"{image.name}.mounted")
    point.mkdir()
    run("mount", "-o", "loop", image, point)
    try:
        yield SmallDisk(image, point)
    finally:
        run("umount", point)
        point.rmdir()
