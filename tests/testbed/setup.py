# SPDX-License-Identifier: GPL-3.0-or-later
"""Installs on this host what building and testing need: Debian packages, and a Python venv for tests."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
VENV = PROJECT / ".venv"
# command that shows that it is there → Debian package
TOOLS = {
    "git": "git",
    "mmdebstrap": "mmdebstrap",
    "ffmpeg": "ffmpeg",
    "openssl": "openssl",
    "unshare": "util-linux",
    "hostname": "hostname",
}
TEST_TOOLS = {
    "gcc": "gcc",
    "ip": "iproute2",
    "rclone": "rclone",
    "pkg-config": "pkg-config",
    "shellcheck": "shellcheck",
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "mkfs.ext4": "e2fsprogs",
    "mkfs.xfs": "xfsprogs",
    "mkfs.btrfs": "btrfs-progs",
}
# file that shows that it is there → Debian package; for building python-systemd in the venv, and for its journals
TEST_FILES = {
    "/usr/lib/postgresql": "postgresql",
    "/usr/include/systemd/sd-daemon.h": "libsystemd-dev",
    "/lib/systemd/systemd-journal-remote": "systemd-journal-remote",
    "/usr/sbin/ngircd": "ngircd",
    "/usr/share/keyrings/debian-archive-keyring.gpg": "debian-archive-keyring",
}


class SetupError(Exception):
    """This host cannot be made ready."""


def ensure_tools(*, tests: bool) -> None:
    """Install the Debian packages that are missing; needs root, and apt if any are."""
    if os.geteuid() != 0:
        raise SetupError("cannot set up: run as root (namespaces, mounts and apt need it)")
    tools = TOOLS | (TEST_TOOLS if tests else {})
    missing = [package for command, package in tools.items() if shutil.which(command) is None]
    if tests:
        missing += [package for file, package in TEST_FILES.items() if not Path(file).exists()]
        missing += _missing_for_venv()
    if missing:
        install(missing)


def _missing_for_venv() -> list[str]:
    probe = "import ensurepip, sysconfig, pathlib; pathlib.Path(sysconfig.get_path('include'), 'Python.h').stat()"
    done = subprocess.run([sys.executable, "-c", probe], check=False, capture_output=True)
    return [] if done.returncode == 0 else ["python3-venv", "python3-dev"]


def install(packages: list[str]) -> None:
    """apt-get install, without questions and recommendations; a .deb of an installed version is installed again."""
    if shutil.which("apt-get") is None:
        raise SetupError(f"cannot set up: no apt-get here; install by hand: {' '.join(packages)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    print(f"installing {' '.join(packages)}", flush=True)
    for command in (["update", "-q"], ["install", "-qy", "--no-install-recommends", "--reinstall", *packages]):
        subprocess.run(["apt-get", *command], check=True, env=environment, stdout=subprocess.DEVNULL)


def ensure_venv() -> None:
    """.venv with the project's dependencies and test tools; made again when pyproject.toml has changed."""
    digest = hashlib.sha256((PROJECT / "pyproject.toml").read_bytes() + sys.version.encode()).hexdigest()
    stamp = VENV / "made-from"
    if stamp.exists() and stamp.read_text() == digest:
        return
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], check=True)
    pip = [str(VENV / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--editable", f"{PROJECT}[dev,docs]"], check=True)
    stamp.write_text(digest)
