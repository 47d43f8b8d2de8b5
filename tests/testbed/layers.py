# SPDX-License-Identifier: GPL-3.0-or-later
"""Layers of the testbed's roots, each made once and cached under the hash of what it was made from.

base       Debian with systemd and all that the .deb depends on
build      on base: what builds the .deb and checks it
kernel     on base: a kernel and what a machine of its own needs, for vms
postgresql on base or kernel: Debian's PostgreSQL server, with a cluster
installed  on any of those: one .deb, installed as a user would install it
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import subprocess
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from tests.testbed import host
from tests.testbed.box import Box, BoxError
from tests.testbed.spaces import ENVIRONMENT, Root, cache, enter_argv, enter_environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SUITE = "trixie"
BASE_PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "iproute2", "procps", "ca-certificates"),
    *("python3", "python3-systemd", "python3-sdnotify", "python3-dbus-fast", "python3-msgspec"),
    *("python3-sqlalchemy", "alembic", "python3-click", "python3-rich", "python3-tomli", "python3-venv"),
    *("python3-pyroute2", "python3-psycopg", "python3-pathvalidate", "python3-regex", "streamlink", "ffmpeg"),
    # not needed by the .deb: what uploads, and what tests look with
    *("rclone", "python3-varlink", "python3-pytest", "sqlite3"),
)
BUILD_PACKAGES = (
    *("build-essential", "debhelper", "dh-python", "pybuild-plugin-pyproject", "python3-all"),
    *("python3-setuptools", "python3-docutils", "python3-hypothesis", "python3-pytest-asyncio"),
    *("python3-pytest-timeout", "lintian"),
)
KERNEL_PACKAGES = (
    # the tiny one is to satisfy the kernel's package: what a vm boots from is built into that kernel
    *("linux-image-cloud-amd64", "tiny-initramfs", "udev", "e2fsprogs"),
    "systemd-oomd",
)
POSTGRESQL_PACKAGES = ("postgresql",)
TIMERS = ("apt-daily", "apt-daily-upgrade", "dpkg-db-backup", "systemd-tmpfiles-clean")
# Runs inside the finished root: what the first boot would do, once instead of at each boot.
SEAL_BASE = """
systemctl mask --quiet {timers}
ldconfig
systemd-sysusers
journalctl --update-catalog
mkdir -p /var/log/journal
touch /etc/.updated /var/.updated
rm -f /etc/machine-id /etc/hostname
"""
INSTALLED_KEPT = 4


def base() -> tuple[Path, ...]:
    """The base layer; made by mmdebstrap from Debian's mirror if it is not there."""
    recipe = f"{SUITE} {BASE_PACKAGES} {TIMERS} {SEAL_BASE}"
    return (_layer("base", recipe, _make_base),)


def build() -> tuple[Path, ...]:
    """base and what builds packages."""
    return _packages("build", BUILD_PACKAGES, base())


def kernel() -> tuple[Path, ...]:
    """base and a kernel."""
    return _packages("kernel", KERNEL_PACKAGES, base())


def postgresql(below: tuple[Path, ...] | None = None) -> tuple[Path, ...]:
    """base, or `below`, and a database server."""
    return _packages("postgresql", POSTGRESQL_PACKAGES, below or base())


def installed(deb: Path, below: tuple[Path, ...] | None = None) -> tuple[Path, ...]:
    """base, or `below`, with `deb` installed by apt under a running systemd, then shut down."""
    below = below or base()

    def make(root: Root) -> None:
        with Box(f"install-{root.folder.name}", below) as box:
            box.path("/root/install.deb").write_bytes(deb.read_bytes())
            box.run(["apt-get", "install", "-qy", "/root/install.deb"], timeout=300)
            box.run(["rm", "/root/install.deb"])
            box.power_off()
            shutil.rmtree(root.upper)
            box.root.upper.rename(root.upper)

    digest = hashlib.sha256(deb.read_bytes()).hexdigest()
    layer = _layer("installed", f"{below} {digest}", make, below)
    layer.parent.touch()
    _prune("installed", keep=INSTALLED_KEPT)
    return (layer, *below)


def run_in_root(root: Root, script: str, *, bind: tuple[Path, str] | None = None) -> None:
    """Run a shell script as root inside `root`, without systemd; its output is ours; raises if it fails."""
    for path, text in host.settings().items():
        root.write(path, text)
    pairs = [f"{name}={value}" for name, value in {**ENVIRONMENT, **host.environment()}.items()]
    command = ["/usr/bin/env", "-i", *pairs, "/bin/sh", "-ec", script]
    done = subprocess.run(
        enter_argv(command, tethered=True), env=enter_environment(root, name="build", bind=bind), check=False
    )
    if done.returncode != 0:
        raise BoxError(f"cannot finish in {root.folder}: the script gave {done.returncode}")


def _packages(kind: str, packages: tuple[str, ...], below: tuple[Path, ...]) -> tuple[Path, ...]:
    """`below`, and above it a layer with these packages of Debian's."""
    install = f"apt-get update -q && apt-get install -qy --no-install-recommends {' '.join(packages)} && apt-get clean"
    layer = _layer(kind, f"{below} {packages}", lambda root: run_in_root(root, install), below)
    return (layer, *below)


def _make_base(root: Root) -> None:
    options = root.folder / "apt.conf"
    options.write_text(host.apt_settings())
    seal = root.folder / "seal.sh"
    seal.write_text(SEAL_BASE.format(timers=" ".join(f"{name}.timer" for name in TIMERS)))
    include = ",".join(BASE_PACKAGES)
    command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--aptopt={options}", f"--include={include}"]
    hook = f'--customize-hook=chroot "$1" sh -eu < {seal}'
    subprocess.run([*command, hook, SUITE, str(root.upper)], check=True)


def _layer(kind: str, recipe: str, make: Callable[[Root], None], below: tuple[Path, ...] = ()) -> Path:
    """The folder of the layer of this recipe; a missing one is filled by `make`."""
    digest = hashlib.sha256(recipe.encode()).hexdigest()[:12]
    layers = cache() / "layers"
    done = layers / f"{kind}-{digest}"
    layers.mkdir(parents=True, exist_ok=True)
    with _locked(layers / f"{kind}.lock"):
        if not done.exists():
            root = Root(folder=layers / f"{kind}-{digest}.new", lower=below)
            root.create()
            make(root)
            shutil.rmtree(root.folder / "work")
            root.folder.rename(done)
    return done / "upper"


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _prune(kind: str, *, keep: int) -> None:
    """Remove the layers of a kind that were used longest ago and that no box stands on."""
    layers = cache() / "layers"
    with _locked(layers / f"{kind}.lock"):  # boxes are made by several processes at a time
        used = _layers_in_use()
        found = [path for path in layers.glob(f"{kind}-*") if path.suffix != ".new"]
        for folder in sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)[keep:]:
            if str(folder / "upper") not in used:
                shutil.rmtree(folder)


def _layers_in_use() -> set[str]:
    used: set[str] = set()
    for state in (cache() / "boxes").glob("*/state.json"):
        with suppress(FileNotFoundError):  # the box has just ended
            used.update(json.loads(state.read_text())["layers"])
    return used
