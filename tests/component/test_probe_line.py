# SPDX-License-Identifier: GPL-3.0-or-later
"""The one process that asks for all streamers, with the real streamlink; and processes that misbehave in its place."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from streamvaultd.config.live_settings import LiveSettings
from streamvaultd.config.settings import Settings
from streamvaultd.core.recording.events import Outcome
from streamvaultd.core.watching.model import Trouble
from streamvaultd.recording.streamlink.installation import python_of
from streamvaultd.reporting.notices import PROBE_LOST
from streamvaultd.scopes.launcher import clean_environment
from streamvaultd.watching.hints import Hints
from streamvaultd.watching.probe import probed
from streamvaultd.watching.probe_line import HUNG_MAX, LINE_MAX, ProbeLine, sighting_of
from tests.component.captures import SHORT_MEDIA, real_streamlink
from tests.fakes.livesource import LiveSource
from tests.fakes.parts import Noted

REAL = [sys.executable, "-c", "from streamvaultd.watching.probe.probed import main; main()"]
Line = Callable[..., AbstractAsyncContextManager["World"]]


class World:
    """A line whose processes are ours, and an account of them."""

    def __init__(
        self,
        argv: list[str],
        group: asyncio.TaskGroup,
        home: Path,
        settings: LiveSettings | None = None,
        **limits: Any,
    ) -> None:
        self.argv = argv
        self.home = home
        self.processes: list[asyncio.subprocess.Process] = []
        self.journal = Noted()
        self.hints = Hints()
        self.interpreter = python_of(real_streamlink())
        self.line = ProbeLine(
            connect=self.connect,
            programs=self,
            hints=self.hints,
            settings=settings or LiveSettings(Settings()),
            tasks=group,
            journal=self.journal,
            **limits,
        )

    @property
    def lost(self) -> list[str]:
        assert {entry for entry, _ in self.journal.told} <= {PROBE_LOST}
        return self.journal.whys

    async def python(self) -> str:
        return self.interpreter

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        ours, theirs = socket.socketpair()
        environment = {**clean_environment(self.home), "PYTHONPATH": str(Path(probed.__file__).parents[2])}
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *self.argv, stdin=theirs.fileno(), stdout=theirs.fileno(), env=environment
            )
        self.processes.append(process)
        return await asyncio.open_connection(sock=ours, limit=LINE_MAX)


@asynccontextmanager
async def world(home: Path, argv: list[str] = REAL, **limits: Any) -> AsyncIterator[World]:
    """The line, closed in the end: then its process has to be gone by itself."""
    async with asyncio.TaskGroup() as group:
        there = World(argv, group, home, **limits)
        try:
            yield there
        finally:
            there.line.close()
            for process in there.processes:
                await process.wait()


def fake(script: str) -> list[str]:
    """A process that reads the opening, says that it is ready, and then does this for each `question`."""
    body = "\n    ".join(script.splitlines())
    code = (
        "import json, os, sys\nsys.stdin.readline()\nprint(json.dumps({'ready': True}), flush=True)\n"
        "def say(**answer):\n    print(json.dumps(answer), flush=True)\n"
        f"for text in sys.stdin:\n    question = json.loads(text)\n    {body}\n"
    )
    return [sys.executable, "-c", code]


@pytest.fixture(name="source", scope="module")
def _source() -> Iterator[LiveSource]:
    with LiveSource(SHORT_MEDIA, window=5) as found:
        yield found


async def until(condition: Callable[[], bool], change: Callable[[], Awaitable[Any]]) -> None:
    """Change something until the condition holds."""
    async with asyncio.timeout(60):
        while not condition():
            await change()


async def test_one_process_answers_for_all(source: LiveSource, tmp_path: Path) -> None:
    for name in ("a", "b", "gone"):
        source.channel(name)
    source.control("gone", gone=True)
    async with world(tmp_path) as there:
        answers = await asyncio.gather(*(there.line.probe(source.url(name), "best") for name in ("a", "b", "gone")))
        assert [answer.outcome for answer in answers] == [Outcome.LIVE, Outcome.LIVE, Outcome.OFFLINE]
        assert [answer.plugin for answer in answers[:2]] == ["hls", "hls"]
        assert all(0 < answer.rss < 120 << 20 for answer in answers)
        assert len(there.processes) == 1


async def test_a_playlist_that_advances_has_another_mark(source: LiveSource, tmp_path: Path) -> None:
    source.channel("marked")
    async with world(tmp_path) as there:

        async def mark() -> str:
            return (await there.line.probe(source.url("marked"), "best")).mark

        source.control("marked", fault="freeze")
        still = await mark()
        assert still
        assert await mark() == still
        source.control("marked", fault=None)
        marks = {still}

        async def look() -> None:
            marks.add(await mark())

        await until(lambda: len(marks) > 1, look)


@pytest.mark.parametrize(
    ("url", "plugin"),
    [
        ("https://www.twitch.tv/somebody", "twitch"),
        ("https://www.youtube.com/@somebody/live", "youtube"),
        ("https://kick.com/somebody", "kick"),
        ("https://vimeo.com/12345", "vimeo"),
    ],
)
async def test_sites_without_a_network_are_trouble_of_the_network(tmp_path: Path, url: str, plugin: str) -> None:
    """The plugins of real sites; a proxy that nobody listens at stands for a machine without a network."""
    async with world(tmp_path) as there:
        answer = await there.line.probe(url, "best", options=[("http-proxy", "http://127.0.0.1:9")])
        sighting = sighting_of(answer)
        assert (sighting.outcome, sighting.trouble) == (Outcome.TROUBLE, Trouble.NETWORK), answer


@pytest.mark.parametrize(
    "url", ["https://www.twitch.tv/somebody", "https://kick.com/somebody", "hls://http://x.invalid/l.m3u8"]
)
async def test_no_such_host_is_trouble_of_the_network(tmp_path: Path, url: str) -> None:
    """RFC 6761: names below .invalid never exist; a machine that tests has none of the others either."""
    async with world(tmp_path) as there:
        sighting = sighting_of(await there.line.probe(url, "best"))
        assert (sighting.outcome, sighting.trouble) == (Outcome.TROUBLE, Trouble.NETWORK)


async def test_what_a_server_answers_is_trouble_of_the_site(source: LiveSource, tmp_path: Path) -> None:
    source.channel("broken")
    source.control("broken", fault="500")
    async with world(tmp_path) as there:
        sighting = sighting_of(await there.line.probe(source.url("broken"), "best"))
        assert (sighting.outcome, sighting.trouble) == (Outcome.TROUBLE, Trouble.SITE)


async def test_a_probe_that_dies_is_replaced_and_asked_again(source: LiveSource, tmp_path: Path) -> None:
    source.channel("again")
    async with world(tmp_path) as there:
        await there.line.probe(source.url("again"), "best")
        there.processes[0].kill()
        await there.processes[0].wait()
        assert (await there.line.probe(source.url("again"), "best")).outcome is Outcome.LIVE
        assert len(there.processes) == 2
        assert there.lost


async def test_a_question_that_kills_every_probe_is_trouble_of_the_probe(tmp_path: Path) -> None:
    async with world(tmp_path, fake("os._exit(3)")) as there:
        sighting = sighting_of(await there.line.probe("https://a.example/", "best"))
        assert (sighting.outcome, sighting.trouble, sighting.detail) == (
            Outcome.TROUBLE, Trouble.PROBE, "the probe died",
        )  # fmt: skip
        assert len(there.processes) == 2


@pytest.mark.parametrize(
    "garbage",
    [
        "print('nonsense', flush=True)",
        "print('x' * 3000000, flush=True)",
        "say(outcome='sleepy', id=question['id'])",
        """os.write(1, b'{"id": 1, "detail": "\\xff"}\\n')""",
        """print('{"x":' + '[' * 30000, flush=True)""",
    ],
)
async def test_garbage_ends_the_process_that_wrote_it(tmp_path: Path, garbage: str) -> None:
    async with world(tmp_path, fake(garbage)) as there:
        sighting = sighting_of(await there.line.probe("https://a.example/", "best"))
        assert (sighting.outcome, sighting.trouble) == (Outcome.TROUBLE, Trouble.PROBE)
        assert there.lost == ["the probe wrote what is no answer"] * 2


async def test_one_question_that_hangs_holds_up_no_other(tmp_path: Path) -> None:
    script = "if 'hang' not in question['url']: say(id=question['id'], outcome='offline')"
    async with world(tmp_path, fake(script), answer_limit=0.5) as there:
        hung, well = await asyncio.gather(
            there.line.probe("https://a.example/hang", "best"), there.line.probe("https://a.example/b", "best")
        )
        assert (hung.outcome, hung.detail) == (Outcome.TROUBLE, "no answer within 0.5 s")
        assert well.outcome is Outcome.OFFLINE
        assert len(there.processes) == 1


async def test_a_process_in_which_many_questions_hang_is_replaced(tmp_path: Path) -> None:
    async with world(tmp_path, fake("pass"), answer_limit=0.3) as there:
        asked = (there.line.probe(f"https://a.example/{number}", "best") for number in range(HUNG_MAX))
        assert {answer.outcome for answer in await asyncio.gather(*asked)} == {Outcome.TROUBLE}
        await there.processes[0].wait()
        await there.line.probe("https://a.example/", "best")
        assert len(there.processes) == 2


async def test_a_process_that_answers_late_is_not_replaced(tmp_path: Path) -> None:
    script = (
        "import time; time.sleep(0.4 if 'slow' in question['url'] else 0)\nsay(id=question['id'], outcome='offline')"
    )
    async with world(tmp_path, fake(script), answer_limit=0.3) as there:
        for _ in range(HUNG_MAX + 1):
            assert (await there.line.probe("https://a.example/slow", "best")).outcome is Outcome.TROUBLE
            await until_answered(there)
        assert (len(there.processes), there.lost) == (1, [])


async def until_answered(there: World) -> None:
    """Ask until there is an answer: then there is one to what was asked before."""
    async with asyncio.timeout(60):
        while (await there.line.probe("https://a.example/", "best")).outcome is Outcome.TROUBLE:
            pass


async def test_a_process_that_leaks_is_replaced_once_it_has_answered(tmp_path: Path) -> None:
    script = "say(id=question['id'], outcome='offline', rss=(200 if 'leak' in question['url'] else 50) << 20)"
    async with world(tmp_path, fake(script)) as there:
        assert (await there.line.probe("https://a.example/leak", "best")).outcome is Outcome.OFFLINE
        await there.processes[0].wait()
        assert (await there.line.probe("https://a.example/", "best")).outcome is Outcome.OFFLINE
        assert (len(there.processes), there.lost) == (2, ["it holds 200M"])


async def test_another_streamlink_is_taken_by_another_process(tmp_path: Path) -> None:
    async with world(tmp_path, fake("say(id=question['id'], outcome='offline')")) as there:
        await there.line.probe("https://a.example/", "best")
        there.interpreter = "/opt/another/python"
        await there.line.probe("https://a.example/", "best")
        await there.processes[0].wait()
        assert len(there.processes) == 2
        assert there.lost == []


async def test_a_process_that_cannot_be_had_is_trouble_of_the_probe(tmp_path: Path) -> None:
    async with world(tmp_path, [sys.executable, "-c", "pass"]) as there:
        first = sighting_of(await there.line.probe("https://a.example/", "best"))
        assert (first.outcome, first.trouble) == (Outcome.TROUBLE, Trouble.PROBE)
        started = len(there.processes)
        await there.line.probe("https://a.example/", "best")
        assert len(there.processes) == started  # it is left alone for a while


async def test_secrets_that_are_refused_are_left_out(source: LiveSource, tmp_path: Path) -> None:
    source.channel("token")
    async with world(tmp_path) as there:
        answer = await there.line.probe(
            source.url("token"), "best", secrets=[("http-header", "X-Refuse=planted-secret")]
        )
        assert (answer.outcome, answer.refused) == (Outcome.LIVE, True)
        assert "planted" not in answer.detail


@pytest.mark.parametrize(
    ("option", "value"),
    [("stream-segment-threads", "planted"), ("no-such-option", "planted"), ("http-head", "planted")],
)
async def test_an_option_that_streamlink_does_not_take_is_named(
    source: LiveSource, tmp_path: Path, option: str, value: str
) -> None:
    """Otherwise it would show when a broadcast is to be recorded."""
    source.channel("options")
    async with world(tmp_path) as there:
        url = source.url("options")
        answers = [await there.line.probe(url, "best", options=[(option, value)]) for _ in range(2 * HUNG_MAX)]
        assert {(answer.outcome, answer.trouble) for answer in answers} == {(Outcome.TROUBLE, Trouble.SITE)}
        assert all("streamlink does not take the option" in answer.detail for answer in answers)
        assert not any("planted" in answer.detail for answer in answers)
        assert (await there.line.probe(url, "best")).outcome is Outcome.LIVE
        assert (len(there.processes), there.lost) == (1, [])


async def test_options_that_are_too_many_end_no_process(source: LiveSource, tmp_path: Path) -> None:
    source.channel("many")
    options = [("hls-segment-ignore-names", "x" * 4000) for _ in range(300)]
    async with world(tmp_path) as there:
        await there.line.probe(source.url("many"), "best")
        sighting = sighting_of(await there.line.probe(source.url("many"), "best", options=options))
        assert (sighting.outcome, sighting.trouble) == (Outcome.TROUBLE, Trouble.SITE)
        assert (await there.line.probe(source.url("many"), "best", options=options[:100])).outcome is Outcome.LIVE
        assert (len(there.processes), there.lost) == (1, [])


async def test_half_a_character_is_no_garbage(tmp_path: Path) -> None:
    code = (
        "from streamvaultd.watching.probe import probe, probed, helix, eventsub, reach\n"
        "probe.probe = lambda question, sessions: probe.answer('live', metadata={'title': 'one \\ud83d'})\n"
        "probed.load = {'probe': probe, 'helix': helix, 'eventsub': eventsub, 'reach': reach}.get\n"
        "import sys\nsys.stdin.readline()\nprobed.serve()\n"
    )
    async with world(tmp_path, [sys.executable, "-c", code]) as there:
        answer = await there.line.probe("https://a.example/", "best")
        assert (answer.outcome, answer.metadata) == (Outcome.LIVE, {"title": "one ?"})
        assert there.lost == []


async def test_a_late_answer_of_a_process_that_leaks_does_not_keep_it(tmp_path: Path) -> None:
    script = "import time; time.sleep(1)\nsay(id=question['id'], outcome='offline', rss=200 << 20)"
    async with world(tmp_path, fake(script), answer_limit=0.3) as there:
        await there.line.probe("https://a.example/", "best")
        await asyncio.wait_for(there.processes[0].wait(), 60)
        assert there.lost == ["it holds 200M"]


@pytest.mark.parametrize("password", ["plan/ted-secret", "planted?secret", "planted#secret", "planted@secret"])
async def test_what_an_error_quotes_of_a_proxy_is_no_password(
    source: LiveSource, tmp_path: Path, password: str
) -> None:
    source.channel("quoted")
    proxy = ("http-proxy", f"http://user:{password}@127.0.0.1:9")
    async with world(tmp_path) as there:
        answer = await there.line.probe(source.url("quoted"), "best", options=[proxy])
        assert answer.outcome is Outcome.TROUBLE
        assert "ted" not in answer.detail.replace("quoted", "")
        assert "secret" not in answer.detail
