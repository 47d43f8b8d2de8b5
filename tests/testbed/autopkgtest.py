# SPDX-License-Identifier: GPL-3.0-or-later
"""make autopkgtest: Debian's autopkgtest runs debian/tests against the package of this tree, in boxes."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.testbed import setup
from tests.testbed.box import BoxError
from tests.testbed.deb import copy_source, ensure_deb

RESULTS = setup.PROJECT / "build" / "logs" / "autopkgtest"


def main() -> int:
    """Run the tests of debian/tests/control; 0 when all were run and have passed."""
    setup.ensure_tools(tests=False)
    if shutil.which("autopkgtest") is None:
        setup.install(["autopkgtest"])
    deb = ensure_deb()
    shutil.rmtree(RESULTS, ignore_errors=True)
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "source")
        copy_source(source)
        server = [sys.executable, "-m", "tests.testbed.autopkgtest_server"]
        tests = [f"--output-dir={RESULTS}", "--setup-commands=apt-get update -q", str(deb), f"{source}/"]
        done = subprocess.run(["autopkgtest", *tests, "--", *server], cwd=setup.PROJECT, check=False)
    print(f"what the tests have printed is in {RESULTS}")
    return 0 if done.returncode == 0 else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (BoxError, setup.SetupError, subprocess.CalledProcessError) as error:
        sys.exit(f"cannot run autopkgtest: {error}")
