# SPDX-License-Identifier: GPL-3.0-or-later
"""Notifications with the real apprise and a service on this machine; and processes that misbehave in their place."""

from __future__ import annotations

import asyncio
import contextlib
import html
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from streamvaultd.base.clock import SystemClock
from streamvaultd.config.live_settings import LiveSettings
from streamvaultd.config.settings import Settings
from streamvaultd.core.model import Broadcast
from streamvaultd.core.notifying import BACKOFF, Message, Worth
from streamvaultd.core.recording.effects import Announce, Notice
from streamvaultd.core.topic import Topic
from streamvaultd.core.watching.streamer import Streamer
from streamvaultd.errors import NotificationFailed, StoreUnavailable
from streamvaultd.reporting import notices
from streamvaultd.reporting import notify_line as line
from streamvaultd.reporting import notify_process as process
from streamvaultd.reporting.announced import ENTRIES
from streamvaultd.reporting.entry import Entry
from streamvaultd.reporting.notices import TARGETS, Said
from streamvaultd.reporting.notifier import HEARD_MAX, Heard, Telling
from streamvaultd.reporting.notify_line import CHECKED_AT_ONCE, LINE_MAX, NotifyLine
from streamvaultd.watching.choices import Choices
from tests.fakes.inbox import Inbox

PLANTED = "s3cr3t-t0k3n"
REAL = [sys.executable, "-c", "from streamvaultd.reporting.notify_process import main; main()"]
MESSAGE = Message(
    title="alice: completed (vault)", body="Recording 1 of 'alice' is complete: /srv/a & <b>.ts", kind="success"
)
LIMIT = 30.0


class Processes:
    """Starts what systemd would, with credentials in a folder."""

    def __init__(self, folder: Path, argv: list[str]) -> None:
        self.folder = folder
        self.argv = argv
        self.started: list[asyncio.subprocess.Process] = []
        self.came: asyncio.Queue[asyncio.subprocess.Process] = asyncio.Queue()

    def credential(self, name: str, text: str) -> None:
        (self.folder / f"streamvault-notify.{name}").write_text(text)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        ours, theirs = socket.socketpair()
        environment = {
            "PATH": os.environ["PATH"], "HOME": str(self.folder), "CREDENTIALS_DIRECTORY": str(self.folder),
            "PYTHONPATH": str(Path(process.__file__).parents[2]),
        }  # fmt: skip
        with theirs:
            started = await asyncio.create_subprocess_exec(
                *self.argv, stdin=theirs.fileno(), stdout=theirs.fileno(), env=environment
            )
        self.started.append(started)
        self.came.put_nowait(started)
        return await asyncio.open_connection(sock=ours, limit=LINE_MAX)

    async def close(self) -> None:
        for started in self.started:
            with contextlib.suppress(ProcessLookupError):
                os.kill(started.pid, signal.SIGKILL)
            await started.wait()


@asynccontextmanager
async def processes(folder: Path, argv: list[str] = REAL) -> AsyncIterator[Processes]:
    found = Processes(folder, argv)
    try:
        yield found
    finally:
        await found.close()


@pytest.fixture(name="inbox")
def _inbox() -> Iterator[Inbox]:
    with Inbox() as found:
        yield found


async def test_a_message_arrives(inbox: Inbox, tmp_path: Path) -> None:
    async with processes(tmp_path) as there:
        there.credential("phone", f"# of alice\n{inbox.url(PLANTED)}\n")
        answer = await NotifyLine(there.connect).send("phone", MESSAGE)
    assert answer.why == ""
    (message,) = inbox.messages
    assert (message["title"], message["message"], message["type"]) == (MESSAGE.title, MESSAGE.body, "success")
    assert inbox.paths == [f"/{PLANTED}"]


async def test_no_secret_in_what_others_can_see(inbox: Inbox, tmp_path: Path) -> None:
    inbox.hangs = True
    async with processes(tmp_path) as there:
        there.credential("phone", inbox.url(PLANTED))
        sending = asyncio.create_task(NotifyLine(there.connect).send("phone", MESSAGE))
        await asyncio.to_thread(inbox.asked.wait, LIMIT)
        (started,) = there.started
        for name in ("cmdline", "environ"):
            assert PLANTED.encode() not in await asyncio.to_thread(Path(f"/proc/{started.pid}/{name}").read_bytes)
        sending.cancel()
        await asyncio.wait([sending])


def test_pieces_of_a_url_are_struck_out_as_they_are_and_decoded() -> None:
    url = "json://somebody:p%40ss-word@inbox.example/to%20ken/x"
    text = "somebody could not log in at inbox.example with p%40ss-word, which is p@ss-word, and 'to ken'"
    assert process.without_secrets(text, url) == "*** could not log in at *** with ***, which is ***, and '***'"


@pytest.mark.parametrize("status", [500, 403])
async def test_a_service_that_refuses(inbox: Inbox, tmp_path: Path, status: int) -> None:
    inbox.status = status
    async with processes(tmp_path) as there:
        there.credential("phone", inbox.url(PLANTED))
        answer = await NotifyLine(there.connect).send("phone", MESSAGE)
    assert str(status) in answer.why
    assert not answer.final
    assert PLANTED not in answer.why


async def test_a_service_that_is_away(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    async with processes(tmp_path) as there:
        there.credential("phone", f"json://me:{PLANTED}@127.0.0.1:{port}/{PLANTED}")
        answer = await NotifyLine(there.connect).send("phone", MESSAGE)
    assert "onnection error" in answer.why
    assert not answer.final
    assert PLANTED not in answer.why


async def test_a_service_that_hangs_holds_up_no_other_target(inbox: Inbox, tmp_path: Path) -> None:
    inbox.hangs = True
    with Inbox() as well:
        async with processes(tmp_path) as there:
            there.credential("stuck", inbox.url())
            there.credential("well", well.url())
            sender = NotifyLine(there.connect, answer_limit=LIMIT)
            stuck = asyncio.create_task(sender.send("stuck", MESSAGE))
            await asyncio.to_thread(inbox.asked.wait, LIMIT)
            assert (await sender.send("well", MESSAGE)).why == ""
            assert not stuck.done()
            there.started[0].send_signal(signal.SIGALRM)  # its own alarm
            assert (await stuck).why == "the process that sends died, or took too long"


async def test_the_process_has_an_alarm_that_ends_it(inbox: Inbox, tmp_path: Path) -> None:
    inbox.hangs = True
    short = "from streamvaultd.reporting import notify_process as process; process.LIFETIME = 3; process.main()"
    async with processes(tmp_path, [sys.executable, "-c", short]) as there:
        there.credential("phone", inbox.url())
        answer = await NotifyLine(there.connect).send("phone", MESSAGE)
        assert await there.started[0].wait() == -signal.SIGALRM
    assert answer.why == "the process that sends died, or took too long"


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("import os; os.kill(os.getpid(), 9)", "died"),
        ("print('what?', flush=True)", "no answer"),
        ("print('{\"why\": 7}', flush=True)", "no answer"),
        (f"print('x' * {2 * LINE_MAX})", "no answer"),
        ('import os; os.write(1, b\'{"why": "\\xff"}\\n\')', "no answer"),
        ("print('{\"x\":' + '[' * 30000, flush=True)", "no answer"),
        ("import sys; sys.stdin.read()", "no answer within 0.5 s"),
    ],
)
async def test_a_process_that_misbehaves_is_a_message_that_was_not_sent(tmp_path: Path, script: str, why: str) -> None:
    limit = 0.5 if "0.5" in why else LIMIT
    async with processes(tmp_path, [sys.executable, "-c", script]) as there:
        answer = await NotifyLine(there.connect, answer_limit=limit).send("phone", MESSAGE)
    assert why in answer.why
    assert not answer.final


async def test_no_process_at_all() -> None:
    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_unix_connection("/nonexistent/socket")

    answer = await NotifyLine(connect).send("phone", MESSAGE)
    assert answer.why.startswith("the process that sends cannot be reached: ")
    assert await NotifyLine(connect).check(["phone"]) == {}


async def test_mistakes_in_credentials_are_found_without_sending(inbox: Inbox, tmp_path: Path) -> None:
    async with processes(tmp_path) as there:
        there.credential("good", inbox.url())
        there.credential("two", f"{inbox.url()}\n{inbox.url()}\n")
        there.credential("bad", f"nosuch://{PLANTED}/")
        there.credential("worse", f"discord://{PLANTED}")
        (tmp_path / "streamvault-notify.binary").write_bytes(b"\xff\xfe")
        names = ["good", "two", "bad", "worse", "binary", "gone", "../passwd"]
        sender = NotifyLine(there.connect)
        found = await sender.check(names)
        assert set(found) == {*names} - {"good"}
        assert found["gone"] == "there is no credential streamvault-notify.gone"
        assert PLANTED not in str(found)
        answer = await sender.send("worse", MESSAGE)
        assert answer.final
        assert answer.why == found["worse"]
    assert inbox.messages == []


async def test_any_number_of_targets_is_checked(tmp_path: Path) -> None:
    async with processes(tmp_path) as there:
        names = [f"{number:03d}-{'x' * 60}" for number in range(2 * CHECKED_AT_ONCE + 1)]
        assert set(await NotifyLine(there.connect).check(names)) == set(names)
        assert len(there.started) == 3


async def test_without_apprise_it_says_which_package_is_missing(tmp_path: Path) -> None:
    without = (
        "import sys; sys.modules['apprise'] = None\nfrom streamvaultd.reporting.notify_process import main; main()"
    )
    async with processes(tmp_path, [sys.executable, "-c", without]) as there:
        there.credential("phone", "json://127.0.0.1:1/")
        answer = await NotifyLine(there.connect).send("phone", MESSAGE)
    assert answer.final
    assert "apt install apprise" in answer.why


class Journal(notices.Journal):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[Entry, dict[str, object]]] = []
        self.changed = asyncio.Event()

    def tell(self, entry: Entry, recorder: Any = None, **values: object) -> None:
        self.told.append((entry, values))
        self.changed.set()


class World:
    """Telling, and all around it."""

    def __init__(self, there: Processes, group: asyncio.TaskGroup) -> None:
        self.there = there
        self.settings = LiveSettings(Settings(notify=("phone",)))
        self.files: dict[str, Streamer] = {}
        self.broadcasts: dict[int, Broadcast] = {}
        self.journal = Journal()
        self.heard = Heard(SystemClock())
        self.choices = Choices(watches=cast("Any", self), settings=self.settings)
        self.telling = Telling(
            sender=NotifyLine(there.connect), choices=self.choices, heard=self.heard, broadcasts=self, tasks=group,
            journal=self.journal, clock=SystemClock(), host="host",
        )  # fmt: skip

    # as the store

    async def broadcast(self, recording: int) -> Broadcast:
        found = self.broadcasts.get(recording)
        if found is None:
            raise StoreUnavailable(url="sqlite", why="it is locked")
        return found

    # as the watcher

    def streamer(self, name: str) -> Streamer | None:
        return self.files.get(name)

    @property
    def streamers(self) -> list[Streamer]:
        return list(self.files.values())

    def say(
        self,
        notice: Notice = Notice.RECORDING_COMPLETED,
        streamer: str = "alice",
        text: str = "it is so",
        recording: int | None = None,
    ) -> None:
        entry = ENTRIES[notice]
        self.heard.hear(Said(entry.message_id, entry.priority, streamer, text, recording))


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    async with processes(folder) as there, asyncio.TaskGroup() as group:
        found = World(there, group)
        running = group.create_task(found.telling.run())
        try:
            yield found
        finally:
            running.cancel()


async def arrived(inbox: Inbox, count: int = 1) -> None:
    """So many messages have come."""
    await asyncio.to_thread(inbox.wait, count, LIMIT)


async def test_what_the_journal_is_told_arrives(inbox: Inbox, tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        there.there.credential("phone", inbox.url())
        there.say(Notice.SEGMENT_ENDED)  # nobody is told
        there.say(Notice.SEGMENT_DIED)  # nor is that asked for
        there.say(text="Recording 1\nis complete")
        await arrived(inbox)
        assert inbox.messages[0]["message"] == "Recording 1 is complete"
        assert inbox.messages[0]["title"].startswith("alice: completed (")


HOSTILE = "@everyone <!channel> [win](http://evil.example)\n# **now** `x` \u202egnp.exe\x00 \\_ " + "a" * 1000
DEFUSED = "＠everyone ＜!channel＞ ［win］(http://evil.example) # ＊＊now＊＊ ｀x｀ gnp.exe ＼＿ "  # noqa: RUF001


@pytest.mark.parametrize("form", ["text", "markdown", "html"])
async def test_a_title_is_in_the_message_and_is_text_whatever_it_says(inbox: Inbox, tmp_path: Path, form: str) -> None:
    async with world(tmp_path) as there:
        there.there.credential("phone", f"{inbox.url()}?format={form}")
        there.broadcasts[7] = Broadcast(title=HOSTILE, category="Art & <b>more</b>")
        there.say(text="Recording 7 of 'alice' is complete: /srv/alice/a_7.ts", recording=7)
        await arrived(inbox)
        body = html.unescape(inbox.messages[0]["message"]).replace("\xa0", " ").replace("\\", "")  # as it is shown
    assert "/srv/alice/a_7.ts" in body  # ours is as it was
    told = body.split("“", 1)[1]
    assert told.startswith(DEFUSED)
    assert not set("@<>[]`*\\") & set(told)
    assert told.endswith("a…” (Art & ＜b＞more＜/b＞)")  # noqa: RUF001
    assert len(told) < 320


async def test_a_store_that_does_not_answer_keeps_no_message_back(inbox: Inbox, tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        there.there.credential("phone", inbox.url())
        there.say(text="Recording 7 of 'alice' is complete", recording=7)
        await arrived(inbox)
        assert inbox.messages[0]["message"] == "Recording 7 of 'alice' is complete"


async def test_a_streamers_file_chooses_whom_and_what(inbox: Inbox, tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        there.there.credential("team", inbox.url())
        url = "https://example.org/a"
        there.files["alice"] = Streamer(name="alice", url=url, notify=("team",), events=(Topic.DEATH,))
        there.files["bob"] = Streamer(name="bob", url=url, notify=())
        there.say(Notice.RECORDING_FAILED, "bob")
        there.say(Notice.RECORDING_FAILED, "alice")
        there.say(Notice.SEGMENT_DIED, "alice")
        await arrived(inbox)
        assert inbox.messages[0]["title"].startswith("alice: death (")
        assert there.choices.targets == ("phone", "team")
        assert there.journal.told == []


async def test_a_storm_is_few_messages(inbox: Inbox, tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        there.there.credential("phone", inbox.url())
        for number in range(200):
            there.say(Notice.DISK_LOW, f"streamer{number}")
        for _ in range(2 * HEARD_MAX):
            there.say(Notice.DISK_LOW, "flapping")  # more than is kept: nothing happens
        await arrived(inbox)
        assert inbox.messages[0]["title"].startswith("100 messages (")
        assert "105 before could not be sent" in inbox.messages[0]["message"]
        assert [entry for entry, _ in there.journal.told] == [TARGETS[Worth.OVERFULL]]
        assert len(there.there.started) == 1


async def test_a_service_that_comes_back_gets_what_waited(inbox: Inbox, tmp_path: Path) -> None:
    inbox.status = 500
    async with world(tmp_path) as there:
        there.there.credential("phone", inbox.url())
        there.say(text="first")
        await asyncio.to_thread(inbox.asked.wait, LIMIT)
        inbox.status = 200
        there.say(Notice.RECORDING_FAILED, text="second")
        assert BACKOFF[0] < LIMIT
        await arrived(inbox)
        assert [line.split("UTC ")[1] for line in inbox.messages[0]["message"].splitlines()] == ["first", "second"]
        assert there.journal.told == []


async def test_a_name_without_a_credential_is_told_at_the_start_and_once(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        await there.telling.check(["phone"])
        await there.telling.check(["phone"])
        there.say()
        async with asyncio.timeout(LIMIT):
            sending = [await there.there.came.get() for _ in range(3)][-1]
            await sending.wait()
        why = "there is no credential streamvault-notify.phone"
        assert there.journal.told == [(TARGETS[Worth.FAILED], {"target": "phone", "why": why})]
        assert there.telling.unreachable == ("phone",)


async def test_a_test_message_tells_what_is_wrong_and_works_at_once_when_it_is_right(
    inbox: Inbox, tmp_path: Path
) -> None:
    async with world(tmp_path) as there:
        with pytest.raises(NotificationFailed, match="there is no credential"):
            await there.telling.test("phone")
        there.there.credential("phone", inbox.url())
        await there.telling.test("phone")
        assert inbox.messages[0]["title"].startswith("Test (")
        assert there.telling.unreachable == ()


def test_the_journal_says_what_it_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []
    monkeypatch.setattr("systemd.journal.send", lambda message, **_: sent.append(message))
    said: list[Said] = []
    journal = notices.Journal(cast("Any", SimpleNamespace(hear=said.append)))
    recorder = cast("Any", _recorder())
    journal.announce(recorder, Announce(Notice.SEGMENT_DIED, attempt=1, cause="host-shutdown", fields=(("why", "x"),)))
    journal.tell(notices.SYNC_FAILED, recorder, segment="001", why="EIO")
    journal.tell(notices.SETTINGS_APPLIED)
    assert [each.message for each in said] == sent
    assert [(each.streamer, each.priority) for each in said] == [("alice", 5), ("alice", 3), ("", 5)]


def _recorder() -> Any:
    from tests.component.test_watches import recording

    return recording(1, Streamer(name="alice", url="https://example.org/a"))


def test_limits_fit_each_other() -> None:
    assert process.LIFETIME < line.ANSWER_LIMIT
