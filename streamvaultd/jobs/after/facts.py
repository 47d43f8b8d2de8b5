# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of a recording when one of its steps begins; read from the store then, so it is what the rows say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import msgspec

from streamvaultd.core.chatting import Chat, ChatState
from streamvaultd.core.listing import DoneJob
from streamvaultd.core.model import JOIN, Broadcast, Recorder, SeamRecord, Titled
from streamvaultd.jobs.after.belongings import belongs
from streamvaultd.jobs.after.step_program import MadeFile, Title, Uploaded
from streamvaultd.jobs.made import Made, ResultPart, parse_made


class FactStore(Protocol):
    """Raises StoreUnavailable; get() also RecordingUnreadable."""

    async def get(self, recording: int) -> Recorder | None: ...
    async def broadcast(self, recording: int) -> Broadcast: ...
    async def seams(self, recording: int) -> Sequence[SeamRecord]: ...
    async def last_done_job(self, recording: int, kind: str) -> DoneJob | None: ...
    async def titles(self, recording: int) -> Sequence[Titled]: ...
    async def steps_made(self, recording: int) -> Sequence[tuple[str, Mapping[str, Any]]]: ...
    async def chats(self, recordings: Iterable[int]) -> Mapping[int, Chat]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFacts:
    """All of it."""

    recorder: Recorder
    broadcast: Broadcast
    parts: tuple[ResultPart, ...]
    seams: Sequence[SeamRecord]
    titles: tuple[Title, ...]
    made: tuple[MadeFile, ...]
    chat: Path | None = None
    chat_channel: str = ""
    is_chat_due: bool = False


async def gather(store: FactStore, recording: int) -> StepFacts | None:
    """The facts of a recording; None if it has no result any more. Raises what the store does."""
    recorder = await store.get(recording)
    if recorder is None or recorder.path is None:
        return None
    job = await store.last_done_job(recording, JOIN)
    chat = (await store.chats([recording])).get(recording)
    return StepFacts(
        recorder=recorder,
        broadcast=await store.broadcast(recording),
        parts=parts_of(None if job is None else job.result),
        seams=await store.seams(recording),
        titles=tuple(Title(one.at, one.title, one.category) for one in await store.titles(recording)),
        made=files_of(await store.steps_made(recording), recorder.path),
        chat=None if chat is None or chat.path is None else Path(chat.path),
        chat_channel="" if chat is None else chat.channel,
        is_chat_due=chat is not None and chat.state is not ChatState.DONE,
    )


def files_of(made: Sequence[tuple[str, Mapping[str, Any]]], result: str | None) -> tuple[MadeFile, ...]:
    """The files that steps have made of a result, by their rows; what another hand has written there is none.

    Without a result, as once the media are gone, there are none.
    """
    found: list[MadeFile] = []
    for step, told in made if result is not None else ():
        files = told.get("files")
        for file in files if isinstance(files, list) else ():
            try:
                known = msgspec.convert(file, MadeFile, dec_hook=lambda kind, text: kind(text))
            except msgspec.ValidationError:
                continue
            if belongs(known.path, Path(result or "")):
                found.append(msgspec.structs.replace(known, step=step))
    return tuple(found)


def uploads_of(made: Iterable[tuple[str, Mapping[str, Any]]]) -> tuple[Uploaded, ...]:
    """Where the files of a recording are elsewhere, by its steps' rows; another hand's are none."""
    found: list[Uploaded] = []
    for _, told in made:
        uploads = told.get("uploads")
        for upload in uploads if isinstance(uploads, list) else ():
            try:
                found.append(msgspec.convert(upload, Uploaded))
            except msgspec.ValidationError:
                continue
    return tuple(found)


def parts_of(result: Mapping[str, object] | None) -> tuple[ResultPart, ...]:
    try:
        return parse_made(result).parts
    except msgspec.ValidationError:
        return Made().parts


def made_file(file: MadeFile) -> dict[str, object]:
    """A file as the row of its step has it."""
    return {"path": str(Path(file.path)), "bytes": file.bytes, "sha256": file.sha256}
