# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes the lock of the private streamlink: `python3 -m tests.testbed.streamlinklock`.

pip says what it would install for each Python and machine that the package is for, with the checksums of the wheels.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from streamvaultd.recording.streamlink.command import RECOMMENDED
from streamvaultd.recording.streamlink.installer import LOCK

PYTHONS: Final = ("3.11", "3.12", "3.13")
MACHINES: Final = ("x86_64", "aarch64")
PLATFORMS: Final = ("manylinux_2_28", "manylinux_2_17", "manylinux2014", "manylinux_2_12", "manylinux_2_5")
HEAD: Final = (
    "# Written by 'make lock': wheels for Python 3.11 to 3.13 on x86_64 and aarch64, and no others are installed.\n"
)


def resolved(python: str, machine: str, folder: Path) -> list[dict[str, Any]]:
    """What pip would install."""
    report = folder / "report.json"
    platforms = [f"--platform={platform}_{machine}" for platform in PLATFORMS]
    subprocess.run(
        [
            sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--no-cache-dir",
            "--disable-pip-version-check", "--only-binary=:all:", "--implementation=cp", f"--python-version={python}",
            f"--target={folder / 'target'}", f"--report={report}", *platforms, f"streamlink>={RECOMMENDED}",
        ],
        check=True,
    )  # fmt: skip
    found: list[dict[str, Any]] = json.loads(report.read_text())["install"]
    return found


def lock_text(reports: Iterable[Iterable[Mapping[str, Any]]]) -> str:
    """The lock of all of them; ValueError if they do not agree on a version."""
    versions: dict[str, str] = {}
    hashes: dict[str, set[str]] = {}
    for item in (item for report in reports for item in report):
        name, version = item["metadata"]["name"].lower(), item["metadata"]["version"]
        if versions.setdefault(name, version) != version:
            raise ValueError(f"{name} {version} is wanted as well as {versions[name]}")
        hashes.setdefault(name, set()).add(item["download_info"]["archive_info"]["hashes"]["sha256"])
    lines = [
        f"{name}=={versions[name]} \\\n    "
        + " \\\n    ".join(f"--hash=sha256:{each}" for each in sorted(hashes[name]))
        + "\n"
        for name in sorted(versions)
    ]
    return HEAD + "".join(lines)


def main() -> None:
    """Write it."""
    with tempfile.TemporaryDirectory() as folder:
        reports = [resolved(python, machine, Path(folder)) for python in PYTHONS for machine in MACHINES]
    LOCK.write_text(lock_text(reports))


if __name__ == "__main__":
    main()
