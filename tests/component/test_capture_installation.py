# SPDX-License-Identifier: GPL-3.0-or-later
"""Which streamlink is found, and the private one: installed by the real pip from a wheel made here."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import socket
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from streamvaultd.config.live_settings import LiveSettings
from streamvaultd.config.settings import Settings
from streamvaultd.errors import StreamlinkInstallFailed, StreamlinkUnusable
from streamvaultd.recording.streamlink.command import RECOMMENDED, Version, parse_version
from streamvaultd.recording.streamlink.current import Streamlinks
from streamvaultd.recording.streamlink.install_line import Connect, ask_installer
from streamvaultd.recording.streamlink.installation import discover, in_use, python_of
from streamvaultd.recording.streamlink.installer import LOCK, Question, install, serve
from streamvaultd.recording.streamlink.trust import is_there
from tests.component.captures import FAKE, real_streamlink

OWNERS = (0, os.getuid())
ANY = Question(hashes=False)


def program(path: Path, text: str) -> str:
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


async def test_the_configured_command_is_used(tmp_path: Path) -> None:
    found = await discover((sys.executable, str(FAKE)), (tmp_path,), OWNERS)
    assert found.command == (sys.executable, str(FAKE))
    assert (found.version, found.managed, found.warning) == (Version(8, 6, 3), False, None)


async def test_the_real_one_is_found_with_its_interpreter(tmp_path: Path) -> None:
    found = await discover((real_streamlink(),), (tmp_path,), OWNERS)
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
        await discover((program(tmp_path / "streamlink", f"#!/bin/sh\n{script}\n"),), (), ())


async def test_no_command_and_one_that_cannot_run(tmp_path: Path) -> None:
    with pytest.raises(StreamlinkUnusable, match="no such program"):
        await discover(("/nonexistent/streamlink",), (), ())
    with pytest.raises(StreamlinkUnusable, match="No such file or directory"):
        await discover((program(tmp_path / "streamlink", "#!/nonexistent/python\n"),), (), ())


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


def install_by_hand(place: Path, version: str) -> str:
    """A private installation of an earlier day."""
    folder = place / "versions" / "20260101T000000.000000"
    (folder / "bin").mkdir(parents=True)
    (place / "current").symlink_to("versions/20260101T000000.000000")
    return program(folder / "bin" / "streamlink", f"#!/bin/sh\necho 'streamlink {version}'\n")


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


@contextmanager
def started_from(folder: Path) -> Iterator[None]:
    """A process that was started from this folder."""
    command = ["/bin/sh", "-c", "read line", f"{folder}/bin/x"]
    with subprocess.Popen(command, stdin=subprocess.PIPE):
        yield


def programs(place: Path) -> set[str]:
    return {str(path) for path in (place / "versions").glob("*/bin/streamlink")}


@pytest.fixture(name="place")
def _place(tmp_path: Path) -> Path:
    """What systemd makes for the installer."""
    place = tmp_path / "place"
    place.mkdir()
    return place


@pytest.fixture(name="index")
def _index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What pip takes for the Python Package Index."""
    index = tmp_path / "index"
    index.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    return index


async def test_the_private_one_comes_before_the_configured_one(place: Path, tmp_path: Path) -> None:
    older = tmp_path / "older"
    command = install_by_hand(older, "8.0.0")
    assert not is_there(place)
    found = await discover(("streamlink",), (place, older), OWNERS)
    assert (found.command, found.version, found.managed) == ((command,), Version(8, 0, 0), True)
    assert found.warning is not None
    assert "streamvaultctl streamlink update" in found.warning
    command = install_by_hand(place, "97.0.0")
    assert (await discover(("streamlink",), (place, older), OWNERS)).command == (command,)


async def test_an_installation_that_fails_changes_nothing(place: Path) -> None:
    (place / "versions").write_text("in the way")
    assert "File exists" in await install(place, Question("99.0.2", hashes=False))
    assert not is_there(place)


@pytest.mark.parametrize("version", ["1 @ file:///tmp/x", "--index-url=http://127.0.0.1/", "", "8.6.0\n"])
async def test_a_version_is_a_version(place: Path, version: str) -> None:
    assert "is no version" in await install(place, Question(version, hashes=False))
    assert names(place) == []


def locked(lock: Path, version: str, index: Path) -> Path:
    """A lock of the package that is in the index, which has one wheel."""
    [file] = index.iterdir()
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    lock.write_text(f"streamlink=={version} \\\n    --hash=sha256:{digest}\n")
    return lock


@pytest.mark.timeout(600)
async def test_only_wheels_whose_checksums_are_known_are_installed(place: Path, tmp_path: Path, index: Path) -> None:
    wheel(index, "98.0.1")
    lock = locked(tmp_path / "lock", "98.0.1", index)
    assert await install(place, Question(), lock) == ""
    installed = await discover(("streamlink",), (place,), OWNERS)
    assert installed.version == Version(98, 0, 1)
    assert "checksums are not known" in await install(place, Question("97.0.0"), lock)
    [forged] = names(index)
    with zipfile.ZipFile(index / forged, "a") as file:
        file.writestr("planted.py", "")
    why = await install(place, Question(), lock)
    assert "ended with status 1: THESE PACKAGES DO NOT MATCH THE HASHES" in why
    assert await discover(("streamlink",), (place,), OWNERS) == installed
    assert programs(place) == {*installed.command}


@pytest.mark.timeout(600)
async def test_nothing_is_built_from_source(place: Path, tmp_path: Path, index: Path) -> None:
    mark = tmp_path / "mark"
    (tmp_path / "setup.py").write_text(f"open({str(mark)!r}, 'w')\nfrom setuptools import setup\nsetup()\n")
    with tarfile.open(index / "streamlink-99.0.2.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "setup.py", "streamlink-99.0.2/setup.py")
    assert "ended with status 1: No matching distribution found for streamlink" in await install(place, ANY)
    assert not mark.exists()
    assert not is_there(place)


def test_the_set_that_is_known_has_a_streamlink_that_is_recommended() -> None:
    lines = [line for line in LOCK.read_text().splitlines() if not line.startswith(("#", " "))]
    versions = dict(line.removesuffix(" \\").split("==") for line in lines)
    found = parse_version(versions["streamlink"])
    assert found is not None
    assert found >= RECOMMENDED
    assert LOCK.read_text().count("--hash=sha256:") >= len(versions)


# --- who asks, and who installs ------------------------------------------------------------------------------------


@asynccontextmanager
async def installer(place: Path) -> AsyncIterator[Callable[[Question], asyncio.Task[str]]]:
    """A way to ask a process that installs, and to hang up by cancelling; it has ended after the block."""
    ours, its = socket.socketpair()
    serving = asyncio.create_task(serve(its, place))

    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_unix_connection(sock=ours)

    yield lambda question: asyncio.create_task(ask_installer(connect, question))
    await serving


@pytest.mark.timeout(600)
async def test_an_update_gets_the_newest_and_keeps_the_one_before_and_those_in_use(place: Path, index: Path) -> None:
    for version in ("98.0.1", "99.0.2"):
        wheel(index, version)
    before = install_by_hand(place, "97.0.0")
    for name in ("used", "unused"):
        (place / "versions" / name).mkdir()
    with started_from(place / "versions" / "used"):
        assert in_use(place) == ["used"]
        async with installer(place) as ask:
            assert await ask(Question(hashes=False, keep=tuple(in_use(place)))) == ""
    found = await discover(("streamlink",), (place,), OWNERS)
    assert (found.version, found.managed, found.warning) == (Version(99, 0, 2), True, None)
    assert programs(place) == {before, *found.command}
    assert (place / "versions" / "used").exists()
    assert not (place / "versions" / "unused").exists()


async def test_one_at_a_time_and_none_that_nobody_waits_for(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    hanging = program(tmp_path / "python", f'#!/bin/sh\nmkdir "$3"\necho $$ >{fifo}\nexec sleep 600\n')
    monkeypatch.setattr(sys, "executable", hanging)
    async with installer(place) as ask:
        first = ask(ANY)
        pid = int(await asyncio.to_thread(fifo.read_text))
        async with installer(place) as ask_too:
            assert "another installation is under way" in await ask_too(ANY)
        assert len(names(place / "versions")) == 1
        first.cancel()
        await asyncio.wait((first,))
    assert names(place) == ["versions"]
    assert names(place / "versions") == []
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize(
    ("said", "why"),
    [(b"", "died"), (b"{}\n", "no answer"), (b"x" * 100_000, "no answer"), (b'{"why": 5}\n', "no answer")],
)
async def test_an_installer_that_talks_nonsense_has_installed_nothing(said: bytes, why: str) -> None:
    ours, its = socket.socketpair()

    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_unix_connection(sock=ours)

    async def talk() -> None:
        reader, writer = await asyncio.open_unix_connection(sock=its)
        await reader.readuntil(b"\n")
        writer.write(said)
        writer.close()

    told, _ = await asyncio.gather(ask_installer(connect, ANY), talk())
    assert why in told


async def test_without_an_installer_that_is_said(tmp_path: Path) -> None:
    why = await ask_installer(lambda: asyncio.open_unix_connection(tmp_path / "socket"), ANY)
    assert why == "the process that installs cannot be reached: No such file or directory"


def loosen(path: str) -> None:
    Path(path).chmod(0o777)


@asynccontextmanager
async def answering(path: Path, *answers: str) -> AsyncIterator[Connect]:
    """Processes that install nothing, and say this."""
    said = iter(answers)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\n")
        writer.write(json.dumps({"why": next(said)}).encode() + b"\n")
        writer.close()

    async with await asyncio.start_unix_server(answer, path):
        yield lambda: asyncio.open_unix_connection(path)


async def test_what_is_installed_is_used_from_then_on_and_a_failure_changes_nothing(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamvaultd.recording.streamlink.current.owners", lambda: OWNERS)
    old = program(tmp_path / "old", "#!/bin/sh\necho 'streamlink 7.3.0'\n")
    settings = LiveSettings(Settings(streamlink_command=(old,)))
    why = "no network, see https://user:secret@index.example/"
    async with answering(tmp_path / "socket", why, "") as installer:
        streamlinks = Streamlinks(settings=settings, state_dir=tmp_path, place=place, installer=installer)
        await streamlinks.refresh()
        assert (await streamlinks.usable()).version == Version(7, 3)
        assert "trixie-backports" in (streamlinks.trouble or "")
        with pytest.raises(StreamlinkInstallFailed, match=r"cannot install streamlink 99: no network, see ") as failed:
            await streamlinks.install("99", hashes=False)
        assert "secret" not in str(failed.value)
        assert (await streamlinks.usable()).version == Version(7, 3)
        command = install_by_hand(place, "99.0.0")
        assert (await streamlinks.install("99", hashes=False)).command == (command,)
    assert ((await streamlinks.usable()).version, streamlinks.trouble) == (Version(99, 0), None)
    loosen(command)
    await streamlinks.refresh()
    assert "run 'streamvaultctl streamlink install'" in (streamlinks.trouble or "")
    with pytest.raises(StreamlinkUnusable):
        await streamlinks.usable()


# --- what may be run -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", [".", "versions", "versions/20260101T000000.000000", "the program", "a module"])
async def test_what_others_may_write_to_is_not_run(place: Path, what: str) -> None:
    command = Path(install_by_hand(place, "97.0.0"))
    module = command.parents[1] / "lib" / "streamlink" / "session.py"
    module.parent.mkdir(parents=True)
    module.touch()
    assert (await discover(("streamlink",), (place,), OWNERS)).version == Version(97, 0, 0)
    path = {"the program": command, "a module": module}.get(what, place / what)
    for mode in (0o775, 0o757):
        path.chmod(mode)
        with pytest.raises(StreamlinkUnusable, match="others may have written to it"):
            await discover(("streamlink",), (place,), OWNERS)
    path.chmod(0o755)
    os.chown(path, 12345, -1)
    with pytest.raises(StreamlinkUnusable, match="belongs to user 12345"):
        await discover(("streamlink",), (place,), OWNERS)
    assert (await discover(("streamlink",), (place,), (*OWNERS, 12345))).version == Version(97, 0, 0)


@pytest.mark.parametrize("leads_to", ["elsewhere", "../elsewhere", "versions/..", "versions/x/../../../elsewhere"])
async def test_a_private_one_that_is_elsewhere_is_not_run(place: Path, leads_to: str) -> None:
    install_by_hand(place, "97.0.0")
    (place / "versions" / "x").mkdir()
    (place.parent / "elsewhere" / "bin").mkdir(parents=True)
    program(place.parent / "elsewhere" / "bin" / "streamlink", "#!/bin/sh\necho 'streamlink 99.0.0'\n")
    current = place / "current"
    current.unlink()
    current.symlink_to(place.parent / "elsewhere" if leads_to == "elsewhere" else leads_to)
    with pytest.raises(StreamlinkUnusable, match="is not below"):
        await discover(("streamlink",), (place,), OWNERS)


@pytest.mark.parametrize("what", ["place", "place/versions", "place/versions/20260101T000000.000000"])
async def test_folders_that_are_links_are_not_followed(place: Path, what: str) -> None:
    install_by_hand(place, "97.0.0")
    folder = place.parent / what
    folder.rename(place.parent / "moved")
    folder.symlink_to(place.parent / "moved")
    with pytest.raises(StreamlinkUnusable, match="it is no folder"):
        await discover(("streamlink",), (place,), OWNERS)


async def test_links_out_of_it_lead_to_what_is_trusted_as_well(place: Path) -> None:
    folder = Path(install_by_hand(place, "97.0.0")).parents[1]
    (folder / "bin" / "python").symlink_to("/bin/sh")
    (folder / "lib64").symlink_to("bin")
    await discover(("streamlink",), (place,), OWNERS)
    outside = Path(program(place.parent / "outside", "#!/bin/sh\n"))
    (folder / "bin" / "python3").symlink_to(outside)
    await discover(("streamlink",), (place,), OWNERS)
    os.chown(outside, 12345, -1)
    with pytest.raises(StreamlinkUnusable, match="belongs to user 12345"):
        await discover(("streamlink",), (place,), OWNERS)
