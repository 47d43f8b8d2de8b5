# SPDX-License-Identifier: GPL-3.0-or-later
"""The .deb: built and checked by lintian in the build layer, cached by the hash of the source tree."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
from pathlib import Path

from tests.testbed import layers
from tests.testbed.spaces import Root, cache

PROJECT = Path(__file__).resolve().parents[2]
DIST = PROJECT / "dist"
BUILDS_KEPT = 4
BUILD = """
cd /build/source
dpkg-buildpackage --build=binary --unsigned-source --unsigned-changes
lintian --allow-root --fail-on error --tag-display-limit 0 ../*.changes
"""


class DebError(Exception):
    """The package could not be built."""


def ensure_deb() -> Path:
    """The .deb of the working tree, in dist/; built now if the tree has changed."""
    files = source_files()
    built = _build(files, source_hash(files))
    DIST.mkdir(exist_ok=True)
    for old in DIST.glob("*.deb"):
        old.unlink()
    return Path(shutil.copy2(built, DIST))


def source_files() -> list[Path]:
    """What belongs to the source: all that git knows or does not ignore, relative to the project."""
    # a clone may belong to another user than the one who builds
    git = ["git", "-c", f"safe.directory={PROJECT}", "-C", str(PROJECT)]
    listing = [*git, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, check=True, capture_output=True, text=True).stdout.split("\0")
    # a file that was deleted and not yet committed is still listed
    return sorted(Path(name) for name in names if name and (PROJECT / name).is_file())


def source_hash(files: list[Path]) -> str:
    """Changes with every name, mode and byte."""
    digest = hashlib.sha256(BUILD.encode())
    for file in files:
        path = PROJECT / file
        digest.update(f"{file} {path.stat().st_mode:o} {path.stat().st_size}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _build(files: list[Path], digest: str) -> Path:
    debs = cache() / "debs"
    debs.mkdir(parents=True, exist_ok=True)
    done = debs / digest
    with (debs / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            root = Root(folder=debs / f"{digest}.new", lower=layers.build())
            _build_in_root(files, root)
            (root.folder / "out").rename(done)
            root.remove()
        done.touch()
        _prune(debs)
    return _only_deb(done)


def _build_in_root(files: list[Path], root: Root) -> None:
    root.create()
    out = root.folder / "out"
    for file in files:
        target = out / "source" / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(PROJECT / file, target)
    layers.run_in_root(root, BUILD, bind=(out, "/build"))
    shutil.rmtree(out / "source")


def _prune(debs: Path) -> None:
    builds = sorted(debs.glob("*/"), key=lambda path: path.stat().st_mtime, reverse=True)
    for folder in builds[BUILDS_KEPT:]:
        shutil.rmtree(folder)


def _only_deb(folder: Path) -> Path:
    debs = list(folder.glob("*.deb"))
    if len(debs) != 1:
        raise DebError(f"cannot choose a package in {folder}: {[deb.name for deb in debs]}")
    return debs[0]
