# SPDX-License-Identifier: GPL-3.0-or-later
"""The source archive and the wheel, as pip installs them: all is there, and works without the .deb."""

from __future__ import annotations

import os
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from streamvaultd import __version__
from tests.testbed import deb, wheels

pytestmark = pytest.mark.timeout(900)

PACKAGE = Path("streamvaultd")
IMPORT_ALL = """
import importlib, pkgutil, streamvaultd
for found in pkgutil.walk_packages(streamvaultd.__path__, "streamvaultd."):
    if found.name == "streamvaultd.store.migrations.env":  # alembic runs it
        continue
    try:
        importlib.import_module(found.name)
    except ModuleNotFoundError as error:
        if error.name != "prometheus_client":  # in the extra "metrics"
            raise
"""
MIGRATE = """
import sqlalchemy
from streamvaultd.store import migrate
with sqlalchemy.create_engine("sqlite://").begin() as connection:
    migrate.upgrade(connection)
    print(*sqlalchemy.inspect(connection).get_table_names())
"""
MUXER = "from streamvaultd.recording.streamlink import command; print(command.MUXER)"


def is_executable(mode: int) -> bool:
    return bool(mode & 0o111)


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh venv with what building and running need; its programs."""
    links = wheels.ensure_wheels()
    return wheels.make_venv(tmp_path_factory.mktemp("venv"), links, *wheels.needed()).parent


@pytest.fixture(scope="module")
def built(venv: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The source archive and the wheel."""
    return wheels.build(tmp_path_factory.mktemp("wheel"), venv / "python", wheels.ensure_wheels())


@pytest.fixture(scope="module")
def bin_folder(venv: Path, built: tuple[Path, Path]) -> Path:
    """Where the venv has the programs of the wheel."""
    wheels.install(venv / "python", wheels.ensure_wheels(), str(built[1]))
    return venv


def run(*argv: str | Path, status: int = 0) -> str:
    """What a program prints, as anybody would run it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(argv, check=False, capture_output=True, text=True, cwd="/", env=environment)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_wheel_has_every_file_with_its_mode(built: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(built[1]) as wheel:
        found = {
            info.filename: is_executable(info.external_attr >> 16)
            for info in wheel.infolist()
            if info.filename.startswith(f"{PACKAGE}/")
        }
    files = [file for file in deb.source_files() if file.is_relative_to(PACKAGE)]
    assert found == {str(file): is_executable((deb.PROJECT / file).stat().st_mode) for file in files}
    assert any(found.values())


def test_the_source_archive_has_what_only_the_deb_installs(built: tuple[Path, Path]) -> None:
    with tarfile.open(built[0]) as archive:
        found = {str(Path(*Path(name).parts[1:])) for name in archive.getnames()}
    folders = ("debian", "docs", "systemd", str(PACKAGE))
    assert {str(file) for file in deb.source_files() if file.parts[0] in folders} <= found


def test_what_pip_installed_works(bin_folder: Path) -> None:
    python = bin_folder / "python"
    assert run(bin_folder / "streamvaultctl", "--version") == f"streamvaultctl {__version__}\n"
    assert run(bin_folder / "streamvaultd", "--version") == f"streamvaultd {__version__}\n"
    assert "timeline" in run(bin_folder / "streamvaultctl", "--help")
    assert run(bin_folder / "streamlink", "--version").startswith("streamlink ")
    run(python, "-m", "pip", "check")
    run(python, "-I", "-c", IMPORT_ALL)
    assert "recordings" in run(python, "-I", "-c", MIGRATE).split()
    assert run(run(python, "-I", "-c", MUXER).strip(), "-version").startswith("ffmpeg version")


def test_mistakes_in_settings_are_told(bin_folder: Path) -> None:
    """An /etc of its own, as the program sees it: this host's stays as it is."""
    script = 'mount -t tmpfs none /etc && mkdir /etc/streamvaultd && echo "$1" >/etc/streamvaultd/streamvaultd.toml'
    alone = ["unshare", "--mount", "sh", "-ec", f'{script} && exec "$2" --check-config', "sh"]
    daemon = bin_folder / "streamvaultd"
    run(*alone, '[rotation]\nage = "2h"', daemon)
    assert "/etc/streamvaultd/streamvaultd.toml" in run(*alone, "[rotation]\nage = 7x", daemon, status=1)


def test_without_a_daemon_the_program_says_so(bin_folder: Path) -> None:
    assert "systemctl start streamvaultd" in run(bin_folder / "streamvaultctl", "list", status=3)
