# SPDX-License-Identifier: GPL-3.0-or-later
"""Which streamlink is found, and the managed one: installed by the real pip from a wheel made here."""

from __future__ import annotations

import hashlib
import os
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from streamvaultd.errors import StreamlinkInstallFailed, StreamlinkUnusable
from streamvaultd.recording.streamlink.command import RECOMMENDED, Version, parse_version
from streamvaultd.recording.streamlink.installation import LOCK, discover, install, python_of
from tests.component.captures import FAKE, real_streamlink


def program(path: Path, text: str) -> str:
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


async def test_the_configured_command_is_used(tmp_path: Path) -> None:
    found = await discover((sys.executable, str(FAKE)), tmp_path)
    assert found.command == (sys.executable, str(FAKE))
    assert (found.version, found.managed, found.warning) == (Version(8, 6, 3), False, None)


async def test_the_real_one_is_found_with_its_interpreter(tmp_path: Path) -> None:
    found = await discover((real_streamlink(),), tmp_path)
    assert Path(found.python).name.startswith("python")


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("echo 'streamlink 5.2.1'", "older than 6.10.0"),
        ("echo nonsense", "answers 'nonsense'"),
        ("exit 3", "ends with status 3"),
    ],
)
async def test_a_command_that_is_no_streamlink_is_refused(tmp_path: Path, script: str, why: str) -> None:
    with pytest.raises(StreamlinkUnusable, match=why):
        await discover((program(tmp_path / "streamlink", f"#!/bin/sh\n{script}\n"),), tmp_path)


async def test_no_command_and_one_that_cannot_run(tmp_path: Path) -> None:
    with pytest.raises(StreamlinkUnusable, match="no such program"):
        await discover(("/nonexistent/streamlink",), tmp_path)
    with pytest.raises(StreamlinkUnusable, match="No such file or directory"):
        await discover((program(tmp_path / "streamlink", "#!/nonexistent/python\n"),), tmp_path)


@pytest.mark.parametrize(
    ("text", "python"),
    [
        ("#!/usr/bin/python3\nimport re\n", "/usr/bin/python3"),
        ("#! /usr/bin/python3 -E\n", "/usr/bin/python3"),
        ("#!/bin/sh\n'''exec' \"/a long/bin/python\" \"$0\" \"$@\"\n' '''\n", "/a long/bin/python"),
        ("#!/bin/sh\n'''exec' /long/bin/python \"$0\" \"$@\"\n' '''\n", "/long/bin/python"),
        ("#!/usr/bin/env sh\n", "/usr/bin/sh"),
    ],
)
def test_the_first_lines_name_the_interpreter(tmp_path: Path, text: str, python: str) -> None:
    found = python_of(program(tmp_path / "streamlink", text))
    assert found == python or Path(found).resolve() == Path(python).resolve()


def test_a_binary_is_its_own_interpreter() -> None:
    assert python_of(sys.executable) == sys.executable


def wheel(folder: Path, version: str) -> None:
    """A package that calls itself streamlink and knows its version."""
    name = f"streamlink-{version}.dist-info"
    files = {
        "streamlink.py": f"def main():\n    print('streamlink {version}')\n",
        f"{name}/METADATA": f"Metadata-Version: 2.1\nName: streamlink\nVersion: {version}\n",
        f"{name}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{name}/entry_points.txt": "[console_scripts]\nstreamlink = streamlink:main\n",
    }
    record = "".join(f"{path},,\n" for path in [*files, f"{name}/RECORD"])
    with zipfile.ZipFile(folder / f"streamlink-{version}-py3-none-any.whl", "w") as file:
        for path, text in {**files, f"{name}/RECORD": record}.items():
            file.writestr(path, text)


def install_by_hand(state: Path, version: str) -> str:
    """A managed installation of an earlier day."""
    folder = state / "streamlink" / "versions" / "20260101T000000.000000"
    (folder / "bin").mkdir(parents=True)
    (state / "streamlink" / "current").symlink_to("versions/20260101T000000.000000")
    return program(folder / "bin" / "streamlink", f"#!/bin/sh\necho 'streamlink {version}'\n")


async def test_the_managed_one_comes_before_the_configured_one(tmp_path: Path) -> None:
    command = install_by_hand(tmp_path, "8.0.0")
    found = await discover(("streamlink",), tmp_path)
    assert (found.command, found.version, found.managed) == ((command,), Version(8, 0, 0), True)
    assert found.warning is not None
    assert "streamvaultctl streamlink update" in found.warning


@pytest.mark.timeout(120)
async def test_an_update_gets_the_newest_and_keeps_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, state = tmp_path / "index", tmp_path / "state"
    index.mkdir()
    for version in ("98.0.1", "99.0.2"):
        wheel(index, version)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    before = install_by_hand(state, "97.0.0")
    installed = await install(state, hashes=False)
    assert (installed.version, installed.managed, installed.warning) == (Version(99, 0, 2), True, None)
    assert await discover(("streamlink",), state) == installed
    assert set(programs(state)) == {before, *installed.command}


async def test_an_installation_that_fails_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "streamlink").mkdir()
    (tmp_path / "streamlink" / "versions").write_text("in the way")
    with pytest.raises(StreamlinkInstallFailed, match="File exists"):
        await install(tmp_path, "99.0.2", hashes=False)
    assert not (tmp_path / "streamlink" / "current").exists()


def locked(lock: Path, version: str, index: Path) -> Path:
    """A lock of the package that is in the index, which has one wheel."""
    [file] = index.iterdir()
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    lock.write_text(f"streamlink=={version} \\\n    --hash=sha256:{digest}\n")
    return lock


@pytest.mark.timeout(120)
async def test_only_wheels_whose_checksums_are_known_are_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, state = tmp_path / "index", tmp_path / "state"
    index.mkdir()
    wheel(index, "98.0.1")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    lock = locked(tmp_path / "lock", "98.0.1", index)
    installed = await install(state, lock=lock)
    assert (installed.version, await discover(("streamlink",), state)) == (Version(98, 0, 1), installed)
    with pytest.raises(StreamlinkInstallFailed, match="checksums are not known"):
        await install(state, "97.0.0", lock=lock)
    [forged] = index.iterdir()
    with zipfile.ZipFile(forged, "a") as file:
        file.writestr("planted.py", "")
    with pytest.raises(StreamlinkInstallFailed, match="ended with status 1"):
        await install(state, lock=lock)
    assert await discover(("streamlink",), state) == installed


@pytest.mark.timeout(120)
async def test_nothing_is_built_from_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index, mark = tmp_path / "index", tmp_path / "mark"
    index.mkdir()
    (tmp_path / "setup.py").write_text(f"open({str(mark)!r}, 'w')\nfrom setuptools import setup\nsetup()\n")
    with tarfile.open(index / "streamlink-99.0.2.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "setup.py", "streamlink-99.0.2/setup.py")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    with pytest.raises(StreamlinkInstallFailed, match="ended with status 1"):
        await install(tmp_path / "state", hashes=False)
    assert not mark.exists()


def test_the_set_that_is_known_has_a_streamlink_that_is_recommended() -> None:
    lines = [line for line in LOCK.read_text().splitlines() if not line.startswith(("#", " "))]
    versions = dict(line.removesuffix(" \\").split("==") for line in lines)
    found = parse_version(versions["streamlink"])
    assert found is not None
    assert found >= RECOMMENDED
    assert LOCK.read_text().count("--hash=sha256:") >= len(versions)


@pytest.mark.parametrize("what", ["streamlink", "streamlink/versions", "the program"])
async def test_what_others_may_write_to_is_not_run(tmp_path: Path, what: str) -> None:
    command = Path(install_by_hand(tmp_path, "97.0.0"))
    assert (await discover(("streamlink",), tmp_path)).version == Version(97, 0, 0)
    path = command if what == "the program" else tmp_path / what
    path.chmod(0o777)
    with pytest.raises(StreamlinkUnusable, match="others may have written to it"):
        await discover(("streamlink",), tmp_path)
    path.chmod(0o755)
    os.chown(path, 12345, -1)
    with pytest.raises(StreamlinkUnusable, match="others may have written to it"):
        await discover(("streamlink",), tmp_path)


async def test_a_private_one_that_is_elsewhere_is_not_run(tmp_path: Path) -> None:
    install_by_hand(tmp_path, "97.0.0")
    (tmp_path / "elsewhere" / "bin").mkdir(parents=True)
    program(tmp_path / "elsewhere" / "bin" / "streamlink", "#!/bin/sh\necho 'streamlink 99.0.0'\n")
    current = tmp_path / "streamlink" / "current"
    current.unlink()
    current.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StreamlinkUnusable, match="is not below"):
        await discover(("streamlink",), tmp_path)


def programs(state: Path) -> list[str]:
    return [str(path) for path in (state / "streamlink" / "versions").glob("*/bin/streamlink")]
