# SPDX-License-Identifier: GPL-3.0-or-later
"""The media of a recording that is not kept go, wherever a daemon before was interrupted, and nothing else does."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from streamvaultd.base.lanes import Lanes
from streamvaultd.core.chatting import Chat, ChatState
from streamvaultd.core.model import Phase, Recorder, Segment, State
from streamvaultd.recording.files.discard import MediaRemover
from streamvaultd.recording.files.output import SegmentFiles
from streamvaultd.recording.removal import Removal
from tests.component.store_world import NOW, later, move, open_store, start

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from streamvaultd.store.stepped import SteppedStore

FILES = SegmentFiles()


class Shelf:
    """A recording of two segments that was joined into two parts, and another's file beside it."""

    def __init__(self, store: SteppedStore, folder: Path) -> None:
        self.store = store
        self.folder = folder / "demo"
        self.removal = Removal(store=store, files=FILES, media=MediaRemover(), lanes=Lanes())
        self.results = [self.folder / "joined.ts", self.folder / "joined.part2.mp4"]
        self.other = self.folder / "another.ts"

    async def fill(self) -> Recorder:
        made = await start(self.store)
        made = replace(made, recording=replace(made.recording, directory=str(self.folder.parent)))
        parts = [
            Segment(number=number, phase=Phase.ENDED, since=NOW, ended=NOW, media_at=NOW, size=7) for number in (1, 2)
        ]
        recorder = await move(self.store, made, State.DISCARDING, *parts, joins=1)
        self.segments = [FILES.segment_path(recorder.recording, number) for number in (1, 2)]
        self.segments[0].parent.mkdir(parents=True)
        for path in (*self.segments, *self.results, self.other):
            path.write_bytes(b"content")
        job = await self.store.create_job(recorder.recording.id, "join", {"join": 1}, NOW)
        result = {"path": str(self.results[0]), "parts": [{"path": str(path), "bytes": 7} for path in self.results]}
        await self.store.finish_job(job, ok=True, result=result, now=later(1))
        return recorder


@pytest.fixture(name="shelf")
async def _shelf(tmp_path: Path) -> AsyncIterator[Shelf]:
    store = await open_store(tmp_path / "store.db")
    yield Shelf(store, tmp_path)
    await store.close()


@pytest.mark.parametrize("gone", [0, 1])
async def test_segments_stay_unless_every_file_of_the_result_is_there(shelf: Shelf, gone: int) -> None:
    """What is kept beside it is a part like any other."""
    recorder = replace(await shelf.fill(), path=str(shelf.results[0]))
    shelf.results[gone].unlink()
    assert not await shelf.removal.remove_segments(recorder)
    assert all(path.exists() for path in shelf.segments)
    shelf.results[gone].write_bytes(b"content")
    assert await shelf.removal.remove_segments(recorder)
    assert sorted(shelf.folder.iterdir()) == sorted([shelf.other, *shelf.results])


@pytest.mark.parametrize("gone", range(5))
async def test_all_media_go_whatever_is_gone_already(shelf: Shelf, gone: int) -> None:
    """Segments first, then the result: so may an earlier daemon have left it."""
    recorder = await shelf.fill()
    media = [*shelf.segments, *shelf.results]
    for path in media[:gone]:
        path.unlink()
    assert list(await shelf.removal.discard(recorder)) == media[gone:]
    assert sorted(shelf.folder.iterdir()) == [shelf.other]
    assert await shelf.removal.discard(recorder) == {}


async def test_the_chat_that_the_row_names_goes_and_another_of_the_number_stays(shelf: Shelf) -> None:
    recorder = await shelf.fill()
    number, folder = recorder.recording.id, shelf.folder
    ours, old = folder / f"chat_{number}_3.jsonl.gz", folder / f"chat_{number}.jsonl.gz"
    for path in (ours, old):
        path.write_bytes(b"content")
    chat = Chat(
        recording=number, site="twitch", channel="alice", folder=str(folder), state=ChatState.DONE, since=NOW, run=3
    )
    await shelf.store.save_chat(chat)
    assert ours not in await shelf.removal.sizes(recorder)
    await shelf.store.save_chat(replace(chat, path=str(ours), size=7))
    assert ours in await shelf.removal.discard(recorder)
    assert sorted(shelf.folder.iterdir()) == sorted([shelf.other, old])
    await shelf.store.forget_chat_file(number)
    (left,) = (await shelf.store.chats([number])).values()
    assert (left.path, left.size, left.state) == (None, None, ChatState.DONE)


async def test_a_disk_that_is_not_mounted_does_not_pass_for_an_empty_one(shelf: Shelf) -> None:
    recorder = await shelf.fill()
    shelf.folder.rename(shelf.folder.with_name("elsewhere"))
    with pytest.raises(OSError, match="mounted"):
        await shelf.removal.discard(recorder)


async def test_a_link_in_place_of_a_file_stops_it(shelf: Shelf, tmp_path: Path) -> None:
    recorder = await shelf.fill()
    victim = tmp_path / "victim"
    victim.write_bytes(b"root")
    shelf.results[1].unlink()
    shelf.results[1].symlink_to(victim)
    with pytest.raises(OSError, match="no regular file"):
        await shelf.removal.discard(recorder)
    assert victim.read_bytes() == b"root"
    assert all(path.exists() for path in shelf.segments)
