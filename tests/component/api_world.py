# SPDX-License-Identifier: GPL-3.0-or-later
"""The methods that look, on a real store and a real socket, with nothing behind them that records."""

from __future__ import annotations

import asyncio
import io
from contextlib import asynccontextmanager, suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from streamvaultd.api.present import Presenter, Segments
from streamvaultd.api.recordings import RecordingsApi
from streamvaultd.api.results import ResultApi
from streamvaultd.api.sockets import all_handlers
from streamvaultd.ctl.main import main
from streamvaultd.ctl.show.screen import Screen
from streamvaultd.errors import RECORDER, NoSuchStream
from streamvaultd.scopes.witnesses.cgroups import Memory
from streamvaultd.varlink.server import Info, ServedInterface, Server, read_definition
from streamvaultd.varlink.sockets import listen
from tests.component.store_world import SetClock, later, segment_path
from tests.fakes.parts import NoChats

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from streamvaultd.core.model import Recorder
    from streamvaultd.store.hooked import HookedStore
    from streamvaultd.varlink.server import Call


class AsMeasured:
    """Sizes as they were measured last."""

    async def fresh(self, recorder: Recorder) -> Recorder:
        return recorder


def _nothing(_key: object) -> None:
    """No process, and no progress."""


async def _no_stream(call: Call) -> dict[str, object]:
    """This store knows of no broadcast, so that there is no title."""
    raise NoSuchStream(stream=call.parameters["stream"])


METHODS = ("Get", "GetStream", "ListSegments", "Why", "ListSeams", "ListParts")


@asynccontextmanager
async def daemon(store: HookedStore, folder: Path) -> AsyncIterator[Callable[..., Any]]:
    """A way to run streamvaultctl against a socket that this store is behind: (exit code, output)."""
    idle = cast("Any", SimpleNamespace(recorders={}, segment_path=segment_path, pid=_nothing, of=_nothing))
    clock = SetClock(later(120))
    presenter = Presenter(clock=clock, sizes=AsMeasured(), joins=idle, chats=NoChats())
    api = RecordingsApi(
        manager=idle, store=store, clock=clock, presenter=presenter,
        segments=Segments(files=idle, processes=idle, memory=Memory()),
    )  # fmt: skip
    handlers = all_handlers(api, ResultApi(store, idle)) | {"GetStream": _no_stream}
    interface = ServedInterface(read_definition(RECORDER), {name: handlers[name] for name in METHODS})
    server = Server(Info("streamvault", "test", "1", "https://example.org/"), [interface], check_replies=True)

    async def ctl(*argv: str) -> tuple[int, str]:
        out = io.StringIO()
        screen = Screen(out, io.StringIO(), {})
        now = later(120).realtime
        code = await asyncio.to_thread(
            main, ["--socket", str(folder / "socket"), *argv], screen=screen, now=lambda: now
        )
        return code, out.getvalue()

    with listen(folder / "socket", 0o600) as listener:
        task = asyncio.create_task(server.serve(listener))
        try:
            yield ctl
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
