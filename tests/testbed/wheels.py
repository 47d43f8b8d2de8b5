# SPDX-License-Identifier: GPL-3.0-or-later
"""The source archive and the wheel of this tree, and those of what they depend on, which are fetched once."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.testbed.deb import copy_source
from tests.testbed.setup import PROJECT
from tests.testbed.spaces import cache

# -P: in the folder of this tree pip takes its egg-info for an installed streamvaultd, and does not install the wheel
PIP = ("-P", "-m", "pip", "--quiet", "--disable-pip-version-check")
SDIST = "import sys; from setuptools import build_meta; print(build_meta.build_sdist(sys.argv[1]))"


def ensure_wheels(python: str = sys.executable) -> Path:
    """A folder with the wheels of all that building and running need, for this Python."""
    wanted = needed()
    digest = hashlib.sha256(f"{wanted} {os.path.realpath(python)}".encode()).hexdigest()[:12]
    folder = cache() / "wheels" / digest
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            subprocess.run([python, *PIP, "wheel", f"--wheel-dir={folder}", *wanted], check=True)
            (folder / "complete").touch()
    return folder


def needed() -> list[str]:
    """What the project says that building and running it need."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    return [*project["build-system"]["requires"], *project["project"]["dependencies"]]


def offline(wheels: Path) -> dict[str, str]:
    """The environment in which pip finds these wheels, and asks nobody."""
    return {**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels), "PYTHONDONTWRITEBYTECODE": "1"}


def make_venv(folder: Path, wheels: Path, *packages: str) -> Path:
    """A venv with these packages and what they depend on; its interpreter."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    install(python, wheels, *packages)
    return python


def install(python: Path, wheels: Path, *packages: str) -> None:
    """These packages, and what they depend on."""
    subprocess.run([str(python), *PIP, "install", "--no-compile", *packages], check=True, env=offline(wheels))


def build(folder: Path, python: Path, wheels: Path) -> tuple[Path, Path]:
    """The source archive, and the wheel that is built from it, by a Python that has what building needs."""
    copy_source(folder / "source")
    made = subprocess.run(
        [str(python), "-c", SDIST, str(folder)], cwd=folder / "source", check=True, stdout=subprocess.PIPE, text=True
    )
    sdist = folder / made.stdout.split()[-1]
    options = ["--no-deps", "--no-build-isolation", f"--wheel-dir={folder}"]
    subprocess.run([str(python), *PIP, "wheel", *options, str(sdist)], check=True, env=offline(wheels))
    [wheel] = folder.glob("streamvaultd-*.whl")
    return sdist, wheel
