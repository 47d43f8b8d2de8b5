# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole daemon in a folder, with nothing around it: built, started, reloaded, stopped."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from streamvaultd.config.last_good import load_or_last
from streamvaultd.config.settings import Settings
from streamvaultd.core.model import Policy, Recording
from streamvaultd.core.upkeep.retention import RetentionRules
from streamvaultd.core.watching.streamer import Streamer
from streamvaultd.daemon import outside
from streamvaultd.daemon.base import Base, Places
from streamvaultd.daemon.root import build, founded
from streamvaultd.daemon.service import Service, Stop
from streamvaultd.varlink.client import Client

RECORDER = "io.streamvault.Recorder"
LIMIT = 60.0


class ServiceManager:
    """Hears what a daemon says, as fast as it says it: a full socket would hold it up."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines: list[str] = []
        self._news = threading.Condition()

    @contextmanager
    def listening(self) -> Iterator[None]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
            told.bind(str(self._path))
            reader = threading.Thread(target=self._read, args=(told,))
            reader.start()
            try:
                yield
            finally:
                with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as own:
                    own.sendto(b"", str(self._path))
                reader.join()

    def _read(self, told: socket.socket) -> None:
        while text := told.recv(65536).decode():
            with self._news:
                self._lines += text.splitlines()
                self._news.notify_all()

    async def hear(self, line: str, times: int = 1) -> None:
        """Return when this was said so many times."""
        await asyncio.to_thread(self._wait, line, times)

    def _wait(self, line: str, times: int) -> None:
        with self._news:
            assert self._news.wait_for(lambda: self._lines.count(line) >= times, LIMIT), (line, self._lines)


class House:
    """A daemon of this process; `handlers` are what it has for signals."""

    def __init__(self, folder: Path, manager: ServiceManager, base: Base, service: Service) -> None:
        self.folder, self.manager, self.base, self.service = folder, manager, base, service
        self.handlers: dict[int, Callable[[], None]] = {}

    @property
    def parts(self) -> Any:
        return self.service._parts

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        return await asyncio.to_thread(Client(self.folder / "socket").call, f"{RECORDER}.{method}", parameters)


def places(folder: Path) -> Places:
    return Places(
        root=folder, state=folder, runtime=folder, broker=folder / "broker", probe=folder / "probe",
        notify=folder / "messages",
    )  # fmt: skip


def settings(folder: Path) -> Settings:
    return Settings(directory=folder / "recordings", store_path=folder / "store.sqlite", streamlink_command=("/none",))


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No bus, no service manager but this test, and nothing is waited for that is not there."""
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path / 'bus'}")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setattr(outside, "WITNESS_LIMIT", 0.1)


@asynccontextmanager
async def built(folder: Path) -> AsyncIterator[House]:
    """Everything is there, and nothing runs."""
    manager = ServiceManager(folder / "notify")
    with manager.listening():
        async with founded(places(folder), settings(folder)) as base:
            house = House(folder, manager, base, build(base))
            try:
                yield house
                raise Stop
            finally:
                base.notifier.close()


@asynccontextmanager
async def running(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    """It is ready; in the end it is told to stop, and does."""
    with suppress_stop(), socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "socket"))
        listener.listen()
        async with built(folder) as house:
            loop = asyncio.get_running_loop()
            monkeypatch.setattr(loop, "add_signal_handler", house.handlers.__setitem__)
            service = asyncio.create_task(house.service.run({"varlink": [listener.detach()]}, ()))
            await house.manager.hear("READY=1")
            yield house
            house.handlers[signal.SIGTERM]()
            with pytest.raises(Stop):
                await service
            await house.manager.hear("STOPPING=1")


@contextmanager
def suppress_stop() -> Iterator[None]:
    """How the block of a daemon ends that was told to."""
    try:
        yield
    except* Stop:
        pass


async def test_it_starts_answers_and_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path, monkeypatch) as house:
        status = await house.call("GetStatus")
        assert (status["state"], status["recordings"], status["mistakes"]) == ("running", 0, [])
        assert (await house.call("List", all=True))["recordings"] == []
        assert set(house.handlers) == {signal.SIGHUP, signal.SIGTERM, signal.SIGINT}


# --- nothing is given to a part after it was made --------------------------------------------------------------------


class Made:
    """How every object of ours was when its constructor had returned."""

    def __init__(self) -> None:
        self.found: dict[int, tuple[Any, dict[str, int]]] = {}

    def __call__(self, frame: FrameType, event: str, _value: object) -> None:
        if event != "return" or frame.f_code.co_name != "__init__" or "self" not in frame.f_locals:
            return
        made = frame.f_locals["self"]
        if type(made).__module__.startswith(("streamvaultd.", __name__)) and hasattr(made, "__dict__"):
            self.found[id(made)] = made, _identities(made)

    def changed(self) -> list[str]:
        """What has another value since, or was not there at all."""
        return [
            f"{type(made).__qualname__}.{name}"
            for made, before in self.found.values()
            for name, value in _identities(made).items()
            if before.get(name) != value
        ]


def _identities(made: object) -> dict[str, int]:
    return {name: id(value) for name, value in vars(made).items()}


@contextmanager
def watched() -> Iterator[Made]:
    made = Made()
    before = sys.getprofile()
    sys.setprofile(made)
    try:
        yield made
    finally:
        sys.setprofile(before)


class Late:
    """What this is about."""

    def __init__(self) -> None:
        self.on_change: Callable[[], object] | None = None


async def test_each_part_is_given_what_it_needs_when_it_is_made(tmp_path: Path) -> None:
    with suppress_stop(), watched() as made:
        control = Late()
        control.on_change = made.changed
        async with built(tmp_path) as house:
            sys.setprofile(None)
            names = {type(each).__name__ for each, _ in made.found.values()}
            assert {"Service", "Manager", "Watches", "Roster", "Retention", "Executor", "Commands", "Joins"} <= names
            assert len(names) > 60, "the parts are seen"
            assert made.changed() == ["Late.on_change"]
            assert house.base.recorders.listeners


# --- reloads ---------------------------------------------------------------------------------------------------------


def write(folder: Path, text: str) -> None:
    file = folder / "etc/streamvaultd/streamvaultd.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


async def test_a_reload_applies_what_is_right_and_retention_waits_while_it_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, monkeypatch) as house:
        limits = house.parts.watching.roster
        write(tmp_path, "[retention]\nkeep_recordings = 3\n")
        assert (await house.call("Reload")) == {"applied": True, "mistakes": []}
        assert limits.retention_of("anybody") == RetentionRules(keep_recordings=3, require_upload=False)
        write(tmp_path, "[retention]\nkeep_recordings = 'three'\n")
        answer = await house.call("Reload")
        assert (answer["applied"], len(answer["mistakes"])) == (False, 1)
        assert limits.retention_of("anybody") is None
        assert house.base.settings.now.retention == RetentionRules(keep_recordings=3)
        assert len((await house.call("GetStatus"))["mistakes"]) == 1
        write(tmp_path, "")
        house.handlers[signal.SIGHUP]()
        await house.manager.hear("READY=1", times=4)
        assert limits.retention_of("anybody") == RetentionRules(require_upload=False)


async def test_a_disk_that_hangs_holds_up_reloads_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, monkeypatch) as house:
        read, asked, goes_on = load_or_last, threading.Semaphore(0), threading.Event()

        def hang(*args: Any) -> Any:
            asked.release()
            assert goes_on.wait(LIMIT)
            return read(*args)

        monkeypatch.setattr("streamvaultd.daemon.reload.load_or_last", hang)
        write(tmp_path, "[retention]\nkeep_recordings = 1\n")
        first = asyncio.create_task(house.call("Reload"))
        assert await asyncio.to_thread(asked.acquire, timeout=LIMIT)
        second = asyncio.create_task(house.call("Reload"))
        assert (await house.call("GetStatus"))["state"] == "running"
        assert not asked.acquire(blocking=False), "the second one waits for the first"
        write(tmp_path, "[retention]\nkeep_recordings = 2\n")
        goes_on.set()
        assert [(await each)["applied"] for each in (first, second)] == [True, True]
        assert house.base.settings.now.retention == RetentionRules(keep_recordings=2)


# --- what a recording is begun with ----------------------------------------------------------------------------------


async def test_secrets_that_a_site_refuses_are_left_out_until_it_takes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "streamvault.own").write_text("http-cookie=planted\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    url = "https://example.org/alice"
    file = tmp_path / "etc/streamvaultd/streamers.d/alice.toml"
    file.parent.mkdir(parents=True)
    file.write_text(f"[streamer]\nurl = '{url}'\nenabled = false\n[streamlink]\nsecrets = ['own']\n")
    async with running(tmp_path, monkeypatch) as house:
        watching = house.parts.watching
        alice: Streamer = watching.watches.streamer("alice")
        mine = Recording(
            id=1, stream=1, streamer="alice", url=url, quality="best", directory="/r", created=house.base.clock.now(),
            duration=None, policy=Policy(),
        )  # fmt: skip
        assert watching.profiles.secrets_for(mine) == (("http-cookie", "planted"),)
        watching.secrets.note_answer(alice, refused=True)
        assert watching.profiles.secrets_for(mine) == ()
        watching.secrets.note_answer(alice, refused=False)
        assert watching.profiles.secrets_for(mine) == (("http-cookie", "planted"),)
