# SPDX-License-Identifier: GPL-3.0-or-later
"""The .deb: built and checked by lintian in the build layer, cached by the hash of the source tree."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.testbed import layers
from tests.testbed.spaces import Root, cache

PROJECT = Path(__file__).resolve().parents[2]
DIST = PROJECT / "dist"
# A clone may belong to another user than the one who builds.
GIT = ("git", "-c", f"safe.directory={PROJECT}", "-C", str(PROJECT))
BUILDS_KEPT = 4
BUILD = """
mkdir -p /build/elsewhere
cp -r /build/source /build/elsewhere/again
cd /build/source
unshare --net dpkg-buildpackage --build=binary --unsigned-source --unsigned-changes
lintian --allow-root --pedantic --display-info --fail-on error,warning --tag-display-limit 0 ../*.changes
cd /build/elsewhere/again
export TZ=Pacific/Kiritimati
umask 027
unshare --net dpkg-buildpackage --build=binary --unsigned-source --unsigned-changes
cmp /build/*.deb /build/elsewhere/*.deb
rm -r /build/elsewhere
"""
"""Two builds, in different folders, at different times and with different habits, have to give equal bytes. Neither
has a network.
"""

ONCE = """
cd /build/source
unshare --net dpkg-buildpackage --build=binary --unsigned-source --unsigned-changes
"""
"""An earlier revision: it was checked in its time."""


class DebError(Exception):
    """The package could not be built."""


def deliver_deb() -> Path:
    """The .deb of the working tree, in dist/ and alone there."""
    built = ensure_deb()
    DIST.mkdir(exist_ok=True)
    for old in DIST.glob("*.deb"):
        old.unlink()
    return Path(shutil.copy2(built, DIST))


def ensure_deb() -> Path:
    """The .deb of the working tree, in the cache; built now if the tree has changed."""
    return _ensure(copy_source, BUILD)


def ensure_deb_of(revision: str) -> Path:
    """The .deb of an earlier revision, which git knows."""

    def unpack(target: Path) -> None:
        archive = subprocess.run([*GIT, "archive", revision], check=True, stdout=subprocess.PIPE).stdout
        target.mkdir()
        subprocess.run(["tar", "--extract", f"--directory={target}"], check=True, input=archive)

    return _ensure(unpack, ONCE)


def _ensure(copy: Callable[[Path], None], script: str) -> Path:
    debs = cache() / "debs"
    debs.mkdir(parents=True, exist_ok=True)
    with (debs / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        root = Root(folder=debs / "new", lower=layers.build())
        root.create()
        # the copy is what is hashed and built: the tree may change meanwhile
        (root.folder / "out").mkdir()
        copy(root.folder / "out" / "source")
        done = debs / tree_hash(root.folder / "out" / "source", script)
        if not done.exists():
            layers.run_in_root(root, script, bind=(root.folder / "out", "/build"))
            shutil.rmtree(root.folder / "out" / "source")
            (root.folder / "out").rename(done)
        root.remove()
        done.touch()
        _prune(debs)
    return _only_deb(done)


def source_files() -> list[Path]:
    """What belongs to the source: all that git knows or does not ignore, relative to the project."""
    listing = [*GIT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, check=True, capture_output=True, text=True).stdout.split("\0")
    # a file that was deleted and not yet committed is still listed
    return sorted(Path(name) for name in names if name and (PROJECT / name).is_file())


def copy_source(target: Path) -> None:
    """Copy what belongs to the source."""
    for file in source_files():
        (target / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(PROJECT / file, target / file)


def tree_hash(folder: Path, script: str = BUILD) -> str:
    """Changes with every name, mode and byte below the folder, and with the way it is built."""
    digest = hashlib.sha256(script.encode())
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        status = path.stat()
        digest.update(f"{path.relative_to(folder)} {status.st_mode:o} {status.st_size}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _prune(debs: Path) -> None:
    builds = sorted(debs.glob("*/"), key=lambda path: path.stat().st_mtime, reverse=True)
    for folder in builds[BUILDS_KEPT:]:
        shutil.rmtree(folder)


def _only_deb(folder: Path) -> Path:
    debs = list(folder.glob("*.deb"))
    if len(debs) != 1:
        raise DebError(f"cannot choose a package in {folder}: {[deb.name for deb in debs]}")
    return debs[0]
